"""The operator's process: adapters opened, database migrated, then watch, work and resync.

The ops port answers from the first moment; everything that has to wait for Kafka, PostgreSQL or the
API server does so in a task of its own and is tried again for as long as it takes.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from argus_runtime import database as runtime_database
from argus_runtime import kafka as runtime_kafka
from argus_runtime import lifecycle, logs, ops
from argus_runtime import redis as runtime_redis
from argus_runtime.settings import load

from argus_operator import watch
from argus_operator.adapters import kubernetes
from argus_operator.adapters.counters import Counters
from argus_operator.adapters.jobs import ReplayJobs
from argus_operator.adapters.kafka import KafkaAdmin
from argus_operator.adapters.kubernetes import Kubernetes
from argus_operator.adapters.leases import Leases
from argus_operator.adapters.postgres import Database
from argus_operator.adapters.registry import RegistryLog, topic_spec
from argus_operator.adapters.usage import RedisUsage
from argus_operator.audits import Auditor
from argus_operator.controller import Controller
from argus_operator.errors import OperatorError
from argus_operator.lease import Leadership
from argus_operator.models import pipeline, replay, tenant
from argus_operator.models.common import Raw
from argus_operator.reconcile.bookkeeping import Bookkeeper
from argus_operator.reconcile.family import FamilyReconciler
from argus_operator.reconcile.health import Health
from argus_operator.reconcile.patrol import Patrol
from argus_operator.reconcile.pipelines import PipelineStep
from argus_operator.reconcile.removal import Removal
from argus_operator.reconcile.replays import ReplayReconciler
from argus_operator.reconcile.status import StatusWriter
from argus_operator.reconcile.sweep import Sweep
from argus_operator.reconcile.tenants import KeyStep
from argus_operator.reconcile.usage import UsageBook
from argus_operator.reconcile.verdict import Verdict
from argus_operator.resources import (
    Family,
    ReplayKey,
    family_of_pipeline,
    family_of_tenant,
    key_of_replay,
)
from argus_operator.resync import Resync
from argus_operator.settings import LeaseSettings, OperatorSettings
from argus_operator.tiers import TierBook
from argus_operator.topics import DiskBudget

logger = logging.getLogger(__name__)

Key = TypeVar("Key")

COMPONENT = "operator"
_APPLICATION = "argus-operator"
_RETRY_S = 3.0
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Adapters:
    """All that the operator talks to."""

    cluster: Kubernetes
    kafka: KafkaAdmin
    registry: RegistryLog
    database: Database
    counters: Counters
    usage: RedisUsage


@asynccontextmanager
async def connect(settings: OperatorSettings) -> AsyncIterator[Adapters]:
    """The adapters, closed at the end; only credentials for the API server must be there."""
    timeout = settings.reconcile.step_timeout
    options = runtime_kafka.options(settings.kafka, _APPLICATION)
    kafka = KafkaAdmin(options, settings.replication_factor, timeout)
    spec = topic_spec(settings.registry_topic, settings.min_insync)
    registry = RegistryLog(options, spec, kafka, timeout)
    connection = runtime_database.connect_options(settings.database, _APPLICATION)
    database = Database(connection, timeout)
    redis = runtime_redis.connect(settings.redis)
    counters, usage = Counters(redis), RedisUsage(redis)
    async with Kubernetes() as cluster:
        await database.open()
        try:
            yield Adapters(cluster, kafka, registry, database, counters, usage)
        finally:
            await counters.close()
            await registry.close()
            await kafka.close()
            await database.close()


@dataclass(frozen=True, slots=True)
class Logic:
    """What works over the adapters; each has tasks to run."""

    controller: Controller[Family]
    replays: Controller[ReplayKey]
    resync: Resync
    auditor: Auditor
    patrol: Patrol
    sightings: watch.Sightings

    @property
    def wakes(self) -> watch.Wakes:
        """What a watch event on an object of each kind wakes."""
        return {
            tenant.PLURAL: lambda raw: self.controller.wake(family_of_tenant(raw)),
            pipeline.PLURAL: lambda raw: self.controller.wake(family_of_pipeline(raw)),
            replay.PLURAL: lambda raw: self.replays.wake(key_of_replay(raw)),
        }


def leadership(cluster: Kubernetes, settings: LeaseSettings) -> Leadership:
    """This process's claim to lead, under a name that no other process has."""
    where = settings.namespace
    store = None if where is None else Leases(cluster, where, settings.name)
    return Leadership(store, f"{socket.gethostname()}-{secrets.token_hex(4)}", settings)


def leading(
    lead: Leadership, reconcile: Callable[[Key], Awaitable[Verdict]]
) -> Callable[[Key], Awaitable[Verdict]]:
    """The same, refused by BusyError while another may lead."""

    async def checked(key: Key) -> Verdict:
        lead.check()
        return await reconcile(key)

    return checked


def assemble(adapters: Adapters, settings: OperatorSettings, lead: Leadership) -> Logic:
    """The logic over the adapters."""
    budget = DiskBudget(
        settings.kafka_disk_bytes, settings.kafka_overcommit, settings.replication_factor
    )
    tiers = TierBook(settings.load_tiers, settings.tiers_file)
    usage = UsageBook(adapters.usage, adapters.database)
    keeper = Bookkeeper(adapters.database, audits=settings.audit.interval > 0)
    health = Health(keeper)
    family = FamilyReconciler(
        adapters.cluster,
        adapters.registry,
        adapters.database,
        KeyStep(adapters.cluster, adapters.registry, _now),
        PipelineStep(adapters.kafka, adapters.database, health, budget, settings.min_insync),
        health,
        Removal(adapters.cluster, adapters.kafka, adapters.database, adapters.counters, budget),
        StatusWriter(adapters.cluster, _now),
        tiers,
        usage,
        settings.reconcile.settle,
    )
    template = settings.load_replay_template()
    jobs = None if template is None else ReplayJobs(adapters.cluster, template.namespace)
    replayer = ReplayReconciler(
        adapters.cluster, jobs, template, StatusWriter(adapters.cluster, _now)
    )
    one_by_one = settings.reconcile.model_copy(update={"workers": 1})
    replays = Controller("replay", leading(lead, replayer.reconcile), one_by_one)
    sweep = Sweep(family.reconcile, health, tiers, usage, settings.resync.full)
    controller = Controller("tenant", leading(lead, sweep.reconcile), settings.reconcile)
    patrol = Patrol(adapters.cluster, controller.wake, settings.resync.secrets)
    sightings = watch.Sightings(settings.watch_stalled_after)

    def listed(plural: str, found: Sequence[Raw]) -> None:
        sightings.compare(plural, found)
        if plural == tenant.PLURAL:
            patrol.guard(found)

    resync = Resync(
        adapters.cluster,
        adapters.registry,
        adapters.kafka,
        adapters.database,
        keeper,
        budget,
        controller.wake,
        replayer,
        replays.wake,
        sweep,
        tiers,
        usage,
        listed,
        settings.resync,
    )
    auditor = Auditor(adapters.database, keeper, controller.wake, settings.audit)
    return Logic(controller, replays, resync, auditor, patrol, sightings)


async def keep_migrated(
    database: Database, settings: OperatorSettings, tried: asyncio.Event
) -> None:
    """Migrates and gives the roles their passwords, whenever the database is not migrated.

    Sets `tried` after the first attempt; tries for as long as it takes.
    """
    told = ""
    while True:
        if not database.migrated:
            told = await _prepare(database, settings, told)
        tried.set()
        await asyncio.sleep(_RETRY_S)


async def _prepare(database: Database, settings: OperatorSettings, told: str) -> str:
    """One attempt; logs and gives what kept it from succeeding, unless that is what was `told`."""
    passwords = (settings.stream_password, settings.reader_password)
    try:
        await database.prepare(*(password.get_secret_value() for password in passwords))
    except OperatorError as error:
        if error.message != told:
            logger.warning("migrations", extra={"reason": error.message})
        return error.message
    return ""


async def control(controller: Controller[Family], tried: asyncio.Event) -> None:
    """Reconciles once the database has been tried, so that a start flips no condition in vain.

    It waits for it only so long: keys and revocations need no database.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_S):
            await tried.wait()
    await controller.run()


async def prepare_kafka(kafka: KafkaAdmin) -> None:
    """Warns once if brokers make topics by themselves; waits for Kafka to say so."""
    while True:
        try:
            if await kafka.creates_by_itself():
                logger.warning(
                    "the brokers have auto.create.topics.enable=true: a client that names a topic "
                    "before the operator has made it gets one with other settings; turn it off"
                )
        except OperatorError as error:
            logger.warning("kafka", extra={"reason": error.message})
            await asyncio.sleep(_RETRY_S)
        else:
            return


async def serve(settings: OperatorSettings, stop: asyncio.Event) -> None:
    """Runs until `stop` is set; the death of any task is an exception."""
    watching = threading.Event()
    async with connect(settings) as adapters:
        lead = leadership(adapters.cluster, settings.lease)
        logic = assemble(adapters, settings, lead)
        controller, resync = logic.controller, logic.resync

        def ready() -> str | None:
            if not lead.leads:
                return "the lease is another operator's, or cannot be read"
            if not adapters.database.migrated:
                return f"PostgreSQL: {adapters.database.problem}"
            if not watching.is_set() or not resync.complete:
                return "the resources have not been listed yet"
            return None

        async def work() -> None:
            await lead.take()
            tried = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    keep_migrated(adapters.database, settings, tried), name="migrations"
                )
                group.create_task(lead.keep(), name="lease")
                group.create_task(prepare_kafka(adapters.kafka), name="kafka")
                group.create_task(control(controller, tried), name="controller")
                group.create_task(resync.run(), name="resync")
                group.create_task(logic.patrol.run(), name="patrol")
                group.create_task(resync.expire(), name="expire")
                if settings.audit.interval:
                    group.create_task(logic.auditor.run(), name="audit")
                group.create_task(logic.replays.run(), name="replays")
                group.create_task(
                    watch.watch(kubernetes.connect, logic.wakes, logic.sightings.note, watching),
                    name="watch",
                )

        def stalled() -> str | None:
            if not lead.leads:
                return None
            found = (resync.stalled(), logic.sightings.stalled())
            return "; ".join(filter(None, found)) or None

        async with ops.serve(settings.ops, live=stalled, ready=ready):
            try:
                await lifecycle.until(stop, work())
            finally:
                await lead.release()


def _now() -> datetime:
    return datetime.now(UTC)


def main() -> None:
    """Entry point of `argus-operator`."""
    settings = load(OperatorSettings, "argus-operator")
    logs.configure(settings.log, COMPONENT)
    logging.getLogger("kopf").setLevel(logging.ERROR)
    sys.exit(lifecycle.run(lambda stop: serve(settings, stop)))
