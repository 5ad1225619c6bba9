"""The edge as a process: wires the steps, runs their background tasks, serves, and ends in order.

At SIGTERM: not ready any more, so that endpoints forget the pod; then, after the drain, no new
connections; requests in flight are finished, batches flushed, and only then do the tasks end.
"""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import uvicorn
from argus_contract.names import TenantId
from argus_contract.registry import Bucket, TenantDocument
from argus_runtime import kafka, lifecycle, logs, ops, redis
from argus_runtime.http import Server, serving
from argus_runtime.registry import RegistryTail
from argus_runtime.settings import load

from argus_ingest import metrics
from argus_ingest.adapters import redis_cluster_buckets
from argus_ingest.adapters.kafka_log import KafkaLog
from argus_ingest.adapters.kafka_watcher import KafkaWatcher
from argus_ingest.adapters.redis_buckets import RedisBuckets
from argus_ingest.adapters.redis_cluster_buckets import RedisClusterBuckets
from argus_ingest.adapters.redis_uses import RedisUses
from argus_ingest.address import AddressResolver
from argus_ingest.authenticate import Authenticator
from argus_ingest.buckets import LocalBuckets
from argus_ingest.budget import Budget
from argus_ingest.deadlines import Deadlines
from argus_ingest.denials import Denials
from argus_ingest.endpoint import EventsEndpoint, Steps
from argus_ingest.flood import FloodGuard
from argus_ingest.limit import Limiter, SharedBuckets
from argus_ingest.pressure import Pressure
from argus_ingest.protocol import App, EdgeProtocol
from argus_ingest.publish import Publisher
from argus_ingest.read import BodyReader
from argus_ingest.settings import Settings
from argus_ingest.site import create_site
from argus_ingest.tenants import Directory
from argus_ingest.uses import Uses
from argus_ingest.watchdog import Watchdog

logger = logging.getLogger(__name__)

CLIENT_ID: Final = "argus-ingest"
_GC_THRESHOLDS: Final = (50_000, 20, 100)
"""Most of our objects die with their request; young collections that find nothing cost latency."""


class Ingest:
    """One process of the edge."""

    def __init__(self, settings: Settings) -> None:
        """Must be made on the running loop; does no I/O."""
        options = kafka.options(settings.kafka, CLIENT_ID)
        self._settings = settings
        self.directory = Directory(settings.replicas)
        self.registry = RegistryTail(options, settings.registry_topic)
        self.body_deadlines = Deadlines(settings.http.body_timeout)
        self.budget = Budget(settings.limits.bytes_in_flight, settings.limits.tenant_share)
        self.log = KafkaLog(
            options,
            delivery_timeout=settings.publish.delivery_timeout,
            compression=settings.publish.compression,
        )
        self.publisher = Publisher(
            self.log,
            self.budget,
            delivery_timeout=settings.publish.delivery_timeout,
            batches_in_flight=settings.publish.batches_in_flight,
        )
        self.watcher = KafkaWatcher(options)
        self.pressure = Pressure(self.watcher, settings.pressure, settings.replicas)
        self.buckets: SharedBuckets = (
            RedisClusterBuckets(redis_cluster_buckets.connect(settings.redis))
            if settings.limits.redis_cluster
            else RedisBuckets(redis.connect(settings.redis))
        )
        self.denials = Denials(settings.limits.denials)
        self.limiter = Limiter(
            self.buckets,
            LocalBuckets(settings.limits.local_buckets, 1 / settings.replicas),
            timeout=settings.limits.redis_timeout,
            calm=settings.limits.redis_calm,
            pace=settings.limits.redis_pace,
            retry=settings.limits.redis_retry,
            on_switch=self.denials.forget,
        )
        self.shared_uses = RedisUses(
            redis_cluster_buckets.connect(settings.redis)
            if settings.limits.redis_cluster
            else redis.connect(settings.redis),
            settings.redis.timeout,
        )
        self.uses = Uses(self.directory, self.shared_uses, settings.limits.uses_interval)
        self.watchdog = Watchdog()
        self.listening = False
        self.endpoint = EventsEndpoint(self._steps())
        metrics.BYTES_IN_FLIGHT.set_function(lambda: self.budget.used)
        self.registry.subscribe(self._learn)

    def _steps(self) -> Steps:
        settings = self._settings
        flood = settings.flood
        return Steps(
            addresses=AddressResolver(settings.trusted_proxies),
            guard=FloodGuard(
                Bucket(flood.rate, flood.burst), flood.unauthorized_cost, flood.addresses
            ),
            authenticator=Authenticator(self.directory),
            reader=BodyReader(settings.limits, self.body_deadlines),
            denials=self.denials,
            budget=self.budget,
            limiter=self.limiter,
            pressure=self.pressure,
            publisher=self.publisher,
            max_events=settings.limits.events,
        )

    def _learn(self, documents: Mapping[TenantId, TenantDocument]) -> None:
        known = {tenant.display for tenant in self.directory.tenants.values()}
        self.directory.update(documents)
        self.pressure.update(documents)
        metrics.forget(known - {tenant.display for tenant in self.directory.tenants.values()})
        logger.info("registry: %d tenants", len(documents))

    def ready(self) -> str | None:
        """Why this process should get no requests, None if it should."""
        if self.endpoint.draining:
            return "draining"
        if not self.listening:
            return "not listening yet"
        if not self.directory.complete:
            return "the registry is not complete yet"
        if not self.log.connected_once:
            return "no broker has been reached yet"
        return None

    @staticmethod
    def live() -> str | None:
        """None: whoever can answer lives; a stuck loop fails the probe by silence."""
        return None

    def http_config(self) -> uvicorn.Config:
        """uvicorn without all that the hot route does not need."""
        http = self._settings.http
        return uvicorn.Config(
            App(self.endpoint, create_site()),
            host=http.host,
            port=http.port,
            # uvicorn would take an App whose __call__ is no coroutine function for ASGI 2
            interface="asgi3",
            http=EdgeProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            date_header=False,
            server_header=False,
            proxy_headers=False,
            backlog=http.backlog,
            timeout_keep_alive=round(http.keep_alive),
            timeout_graceful_shutdown=round(http.grace),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serves until `stop` is set, then ends in order."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._background())
            await stack.enter_async_context(ops.serve(self._settings.ops, self.live, self.ready))
            async with serving(self.http_config()) as server:
                await self._serve(server, stop)
            await self.publisher.flush()
        await self._close()

    async def _serve(self, server: Server, stop: asyncio.Event) -> None:
        self.listening = True
        logger.info("listening on port %d", server.bound_port)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        await stop.wait()
        logger.info("draining for %g s", self._settings.http.drain)
        self.endpoint.draining = True
        await asyncio.sleep(self._settings.http.drain)

    @asynccontextmanager
    async def _background(self) -> AsyncIterator[None]:
        """The tasks that every request needs; the death of one is the death of the process."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work.run(), name=type(work).__name__)
                for work in (
                    self.registry,
                    self.log,
                    self.body_deadlines,
                    self.limiter,
                    self.publisher,
                    self.pressure,
                    self.uses,
                    self.watchdog,
                )
            ]
            try:
                yield
            finally:
                await lifecycle.end(*tasks)

    async def _close(self) -> None:
        await self.log.close()
        await self.watcher.close()
        await self.buckets.close()
        await self.uses.tell()
        await self.shared_uses.close()


def main() -> None:
    """Console script `argus-ingest`."""
    settings = load(Settings, "argus-ingest")
    logs.configure(settings.log, "ingest")

    async def run(stop: asyncio.Event) -> None:
        await Ingest(settings).run(stop)

    sys.exit(lifecycle.run(run))
