"""`make bench-local`: the whole system as processes of this host, held against every budget."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
from argus_runtime import database as runtime_database
from argus_runtime import redis as runtime_redis
from redis.asyncio import Redis

from bench import ceilings, chart, engines, processes, profiles, provision, report, stats
from bench.budgets import MODES
from bench.connections import Connections, connections
from bench.driving import WARM_S, generating
from bench.engines import Engines, Images
from bench.ledger import Ledger
from bench.load import TICK, Offer
from bench.processes import Component
from bench.provision import Tenant
from bench.results import Results
from bench.trial import Run, System, measure
from bench.visibility import Watch

SATURATED: Final = 0.7
"""Share of what was sustained at which latencies are judged."""
_APPLICATION: Final = "argus-bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How the bench is run."""

    images: Images
    runs: int = 5
    seconds: float = 8.0
    """Of each run's window."""
    latency_seconds: float = 15.0
    ingest: int = 1
    """Processes of ingest."""
    stream: int = 1
    """Processes of stream."""
    partitions: int = 4
    """Of each pipeline's topic, as in examples/demo.yaml."""
    addresses: int = 1000
    connections: int = 256
    batch: int = 100
    batch_connections: int = 32
    modes: tuple[str, ...] = MODES
    ceilings: bool = True
    profile: Path | None = None
    """Where flame graphs go; None makes none."""

    def figures(self) -> dict[str, float]:
        """The numbers among it, for the results."""
        names = ("runs", "seconds", "ingest", "stream", "partitions", "addresses", "batch")
        more = ("connections", "batch_connections", "latency_seconds")
        return {name: float(getattr(self, name)) for name in (*names, *more)}


@dataclass(frozen=True, slots=True)
class House:
    """The running system: where its engines are, its processes, its tenants by mode."""

    where: Connections
    engines: Engines
    ingest: Component
    stream: Component
    tenants: dict[str, Tenant]

    def roots(self) -> dict[str, tuple[int, ...]]:
        """Process trees by the names that budgets use."""
        return {
            "ingest": self.ingest.pids,
            "kafka": (self.engines["kafka"].pid,),
            "redis": (self.engines["valkey"].pid,),
            "stream": self.stream.pids,
            "postgres": (self.engines["postgres"].pid,),
        }


@contextmanager
def house(setting: Setting, scratch: Path) -> Iterator[House]:
    """Engines, tenants and processes, all gone at the end."""
    tiers = {**engines.values(), **processes.values(setting.ingest)}
    rendered = chart.render(tiers)
    where = connections(rendered)
    report.progress("starting Kafka, Valkey and PostgreSQL")
    with engines.running(rendered, setting.images, scratch) as running:
        report.progress("migrating; making tenants, topics and tables")
        tenants = asyncio.run(_provision(where, setting))
        with (
            processes.running(rendered, "ingest", setting.ingest, scratch) as ingest,
            processes.running(rendered, "stream", setting.stream, scratch) as stream,
        ):
            yield House(where, running, ingest, stream, tenants)


async def _provision(where: Connections, setting: Setting) -> dict[str, Tenant]:
    async with provision.platform(where) as made:
        return {
            mode: await made.add_tenant(mode, partitions=setting.partitions)
            for mode in setting.modes
        }


class Bench:
    """Runs over a house; collects results."""

    def __init__(
        self,
        setting: Setting,
        house: House,
        pool: "asyncpg.Pool[asyncpg.Record]",
        redis: Redis,
        results: Results,
    ) -> None:
        self._setting = setting
        self._house = house
        self._pool = pool
        self._redis = redis
        self._results = results
        self._number = 0

    async def saturate(self, mode: str) -> None:
        """The runs at full load, and their medians."""
        runs: list[Run] = []
        system = self._system(mode)
        for number in range(self._setting.runs):
            run = await measure(system, self._offer(mode), self._setting.seconds)
            runs.append(run)
            report.progress(report.run_line(mode, number + 1, run))
        self._results.runs[mode] = runs
        self._results.figures |= medians(mode, runs)

    async def pace(self, mode: str) -> None:
        """Latencies at a share of what the runs sustained."""
        rate = SATURATED * self._results.figures[f"{mode}.sustained"]
        offer = self._offer(mode)
        offer = msgspec.structs.replace(
            offer, rate=rate / offer.batch, seconds=WARM_S + self._setting.latency_seconds
        )
        report.progress(f"{mode}: latencies at {rate:,.0f} events/s")
        tenant = self._house.tenants[mode]
        watch = Watch(self._pool, self._redis, [tenant])
        ledger = Ledger(self._pool, tenant.pipelines)
        before = await ledger.position()
        async with watch.watching(), generating(offer) as generator:
            outcome = await generator.outcome()
            await ledger.drained(before, outcome.requests * offer.batch)
        delays = await watch.delays(outcome, offer.run)
        warm = round(stats.window(outcome.ticks, TICK, 0, WARM_S))
        accepted = sorted(outcome.latencies[warm:])
        refused = sum(n for status, n in outcome.statuses.items() if status != 202)
        figures = self._results.figures
        figures[f"{mode}.refused"] = figures.get(f"{mode}.refused", 0) + refused
        figures[f"{mode}.rate_at_70"] = rate
        for name, values in (("accept", accepted), ("row", delays.rows), ("live", delays.live)):
            for share, label in ((0.5, "p50"), (0.99, "p99"), (0.999, "p999")):
                figures[f"{mode}.{name}_{label}"] = 1e3 * stats.percentile(values, share)

    async def profile(self, mode: str, directory: Path) -> None:
        """One more run with samplers attached, which cost something: it counts for nothing else."""
        report.progress(f"{mode}: flame graphs to {directory}")
        house = self._house
        pids = {
            f"{mode}-{component.name}-{number}": pid
            for component in (house.ingest, house.stream)
            for number, pid in enumerate(component.pids)
        }
        with profiles.recording(pids, directory):
            await measure(self._system(mode), self._offer(mode), self._setting.seconds)

    async def ceilings(self) -> None:
        """What the parts could do at best."""
        engines, where = self._house.engines, self._house.where
        seconds, figures = min(5.0, self._setting.seconds), self._results.figures
        report.progress("ceilings: a bare HTTP server, producer-perf-test, COPY, valkey-benchmark")
        figures |= await ceilings.http(seconds, self._setting.connections)
        figures |= await ceilings.kafka(engines["kafka"], where)
        figures |= await ceilings.postgres(engines["postgres"], where)
        figures |= await asyncio.to_thread(ceilings.valkey, engines["valkey"], where)

    def _system(self, mode: str) -> System:
        ledger = Ledger(self._pool, self._house.tenants[mode].pipelines)
        return System(self._house.roots(), ledger)

    def _offer(self, mode: str) -> Offer:
        setting, tenant = self._setting, self._house.tenants[mode]
        self._number += 1
        single = mode == "single"
        return Offer(
            ports=self._house.ingest.ports,
            keys=(tenant.key,),
            addresses=setting.addresses,
            connections=setting.connections if single else setting.batch_connections,
            batch=1 if single else setting.batch,
            run=self._number,
        )


def medians(mode: str, runs: Sequence[Run]) -> dict[str, float]:
    """Figures of a mode from its runs: medians, but sums of what must not be."""
    cpu = {name: statistics.median(run.cpu[name] for run in runs) for name in runs[0].cpu}
    figures = {f"{mode}.{name}": cost for name, cost in cpu.items()}
    if mode == "single":
        figures["single.ingest_request"] = cpu["ingest"]
    for name in ("accepted", "stored", "sustained", "whole", "p50", "p99", "p999"):
        figures[f"{mode}.{name}"] = statistics.median(getattr(run, name) for run in runs)
    figures[f"{mode}.lost"] = sum(run.lost for run in runs)
    figures[f"{mode}.twice"] = sum(run.twice for run in runs)
    figures[f"{mode}.refused"] = sum(
        count for run in runs for status, count in run.statuses.items() if status != 202
    )
    return figures


def resident(runs: Sequence[Run]) -> dict[str, float]:
    """The most memory of each component's processes over all runs, in MiB."""
    return {
        f"resident.{name}": max(run.resident[name] for run in runs) for name in ("ingest", "stream")
    }


@asynccontextmanager
async def prepared(setting: Setting, house: House, results: Results) -> AsyncIterator[Bench]:
    """A bench connected to the house's database and Redis."""
    async with AsyncExitStack() as stack:
        options = runtime_database.connect_options(house.where.database, _APPLICATION)
        pool = await asyncpg.create_pool(**options, min_size=1, max_size=4)
        stack.push_async_callback(pool.close)
        redis = runtime_redis.connect(house.where.redis)
        stack.push_async_callback(redis.aclose)
        yield Bench(setting, house, pool, redis, results)


async def run(setting: Setting, house: House, results: Results) -> None:
    """All of the bench on a house; `results` is filled as it goes."""
    async with prepared(setting, house, results) as bench:
        for mode in setting.modes:
            await bench.saturate(mode)
        results.figures |= resident([one for runs in results.runs.values() for one in runs])
        for mode in setting.modes:
            await bench.pace(mode)
        if setting.profile is not None:
            for mode in setting.modes:
                await bench.profile(mode, setting.profile)
        if setting.ceilings:
            await bench.ceilings()
