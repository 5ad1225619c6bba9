"""`make bench-storage`: what a row costs PostgreSQL as it is stored, and with one thing changed.

Each variant has a pipeline and a connection of its own, and stores rows as the stream does: binary
COPY into the staging table, then `argus.store`. Variants take turns, in another order each round,
so that a machine that grows slower does so for all. Only PostgreSQL runs.
"""

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
from argus_operator import schemas
from argus_operator.adapters.postgres import Database
from argus_operator.models.pipeline import PipelineSpec, TenantRef
from argus_operator.schemas import PipelineTables
from argus_runtime import database as runtime_database
from argus_stream import copyrows

from bench import accounting, chart, engines, provision, report
from bench.connections import Connections, connections
from bench.engines import Engine
from bench.house import Setting
from bench.results import Results
from bench.staged import Rows
from bench.variants import AGAIN, AS_IS, VARIANTS, Variant, phases

_ROUNDS: Final = 2
"""For each of the setting's runs."""
_ROWS: Final = 40_000
"""That a variant stores in a round: the kernel's clock of CPU time has 10 ms."""
_WARM_ROWS: Final = 5_000
"""In the round that does not count."""
_TIMEOUT: Final = 60.0
_VALUES: Final = {"engines.postgres.settings.autovacuum": "off"}
"""One variant's vacuum would run in another's time; what it costs is a variant of its own."""
_STORE: Final = """
SELECT stored FROM argus.store($1, $2, $3, $4, '{0}', '{0}', '{0}', '[]', '[]')
"""
_WAL: Final = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
_SIZES: Final = """
WITH relations AS (
    SELECT unnest($1::text[])::regclass AS relation
    UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = ANY ($1::text[]::regclass[])
)
SELECT sum(pg_table_size(relation))::bigint, sum(pg_indexes_size(relation))::bigint FROM relations
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a row of one round cost: µs of CPU, bytes of write-ahead log."""

    cpu: float
    wal: float


@dataclass(frozen=True, slots=True)
class Size:
    """What a row takes on disk, in bytes."""

    table: float
    indexes: float


class Bench:
    """A variant's pipeline, and the connection that stores into it."""

    def __init__(
        self,
        variant: Variant,
        tables: PipelineTables,
        connection: "asyncpg.Connection[asyncpg.Record]",
        engine: Engine,
    ) -> None:
        self.variant = variant
        self._tables = tables
        self._connection = connection
        self._engine = engine
        self._rows = Rows(variant, seed=len(tables.pipeline))

    @property
    def sent(self) -> int:
        """Rows offered to the store so far."""
        return self._rows.made

    async def prepare(self) -> None:
        """Changes the tables that the product made, opens the partition, makes the staging."""
        execute, variant = self._connection.execute, self.variant
        for statement in (*variant.tables, *variant.retyping("{events}")):
            await execute(self._named(statement))
        await execute("SELECT argus.open_partition($1, 0, 0)", self._tables.topic)
        await execute("SELECT argus.create_staging()")
        for statement in variant.retyping("pg_temp.staged"):
            await execute(statement)

    async def sample(self, least: int) -> Sample:
        """One round of at least so many rows."""
        if self.variant.checkpoint:
            await self._connection.execute("CHECKPOINT")
        cpu, wal, first = self._cpu(), await self._wal(), self.sent
        while self.sent < first + least:
            await self._store()
        for statement in self.variant.after:
            await self._connection.execute(self._named(statement))
        rows = self.sent - first
        return Sample(
            cpu=accounting.MICROS * (self._cpu() - cpu) / rows, wal=(await self._wal() - wal) / rows
        )

    async def size(self) -> Size:
        """That of all rows so far."""
        relations = [self._named("{events}"), self._named("{ids}")]
        table, indexes = await self._connection.fetchrow(_SIZES, relations) or (0, 0)
        return Size(table / self.sent, indexes / self.sent)

    async def missing(self) -> int:
        """Rows that were offered and are not there."""
        count = await self._connection.fetchval(self._named("SELECT count(*) FROM {events}"))
        return self.sent - int(count)

    async def _store(self) -> None:
        """A batch, all of one partition."""
        start = self.sent
        rows = self._rows.batch(time.time_ns() // 1_000)
        await self._connection.copy_to_table(
            "staged",
            schema_name="pg_temp",
            source=cast("Any", copyrows.copy_data([rows])),
            columns=copyrows.COLUMNS,
            format="binary",
        )
        terms = ([self._tables.topic], [0], [start], [self.sent])
        await self._connection.fetch(_STORE, *terms)

    def _named(self, statement: str) -> str:
        schema, table = self._tables.tenant.schema, self._tables.table
        ids = table.replace("events_", "ids_", 1)
        return statement.format(
            schema=schema, table=table, events=f"{schema}.{table}", ids=f"{schema}.{ids}"
        )

    def _cpu(self) -> float:
        return accounting.cpu(accounting.table(), [self._engine.pid])

    async def _wal(self) -> float:
        return float(await self._connection.fetchval(_WAL))


def conduct(setting: Setting, scratch: Path, results: Results) -> None:
    """The whole bench; `results` is filled as it goes."""
    if setting.images is None:
        raise ValueError("PostgreSQL cannot be started without its image")
    rendered = chart.render({**engines.values(), **_VALUES})
    report.progress("starting PostgreSQL")
    with engines.running(rendered, setting.images, scratch, ["postgres"]) as running:
        asyncio.run(_run(setting, running["postgres"], connections(rendered), results))


async def _run(setting: Setting, engine: Engine, where: Connections, results: Results) -> None:
    async with _benches(engine, where) as benches:
        report.progress(f"{len(benches)} variants are made; a round that does not count")
        await _rounds(benches, 1, _WARM_ROWS)
        samples = await _rounds(benches, _ROUNDS * setting.runs, _ROWS)
        sizes = {name: await bench.size() for name, bench in benches.items()}
        missing = [await bench.missing() for bench in benches.values()]
    results.figures |= {"storage.missing": sum(missing)} | figures(samples, sizes, VARIANTS)


@asynccontextmanager
async def _benches(engine: Engine, where: Connections) -> AsyncIterator[Mapping[str, Bench]]:
    """All variants, made by the operator's code and then changed; disconnected at the end."""
    options = runtime_database.connect_options(where.database, "argus-bench")
    async with AsyncExitStack() as stack:
        database = Database(options, _TIMEOUT)
        await database.open()
        stack.push_async_callback(database.close)
        passwords = where.stream_password, where.reader_password
        await provision.available(lambda: database.prepare(*passwords))
        tenant = schemas.tenant_schema(provision.new_meta("storage"))
        await database.ensure_tenant(tenant)
        benches = {}
        for variant in VARIANTS:
            tables = _tables(tenant, variant)
            await database.ensure_pipeline(tables)
            connection = await asyncpg.connect(
                **options | {"server_settings": dict(variant.session)}
            )
            stack.push_async_callback(connection.close)
            benches[variant.name] = Bench(variant, tables, connection, engine)
            await benches[variant.name].prepare()
        yield benches


def _tables(tenant: schemas.TenantSchema, variant: Variant) -> PipelineTables:
    meta = provision.new_meta(variant.name.replace("_", "-"))
    spec = PipelineSpec(tenant_ref=TenantRef(name=tenant.name))
    return replace(schemas.pipeline_tables(tenant, meta, spec, 1), chunk_interval=variant.chunk)


async def _rounds(benches: Mapping[str, Bench], rounds: int, rows: int) -> dict[str, list[Sample]]:
    """Samples of each variant, of so many rows, the phases one after the other."""
    samples: dict[str, list[Sample]] = {name: [] for name in benches}
    chance = random.Random(rounds)  # noqa: S311  # an order, not a secret
    for phase, number in itertools.product(phases(), range(rounds)):
        for variant in chance.sample(phase, len(phase)):
            samples[variant.name].append(await benches[variant.name].sample(rows))
        costs = "  ".join(f"{one.name} {samples[one.name][-1].cpu:.1f}" for one in phase)
        report.progress(f"round {number + 1} of {rounds}, µs/row: {costs}")
    return samples


def figures(
    samples: Mapping[str, Sequence[Sample]], sizes: Mapping[str, Size], variants: Sequence[Variant]
) -> dict[str, float]:
    """The medians by variant, each over that of what it is held against; and the noise."""
    cpu = {
        name: statistics.median(one.cpu for one in measured) for name, measured in samples.items()
    }
    found: dict[str, float] = {}
    for variant in variants:
        name, size = f"storage.{variant.name}", sizes[variant.name]
        measured = samples[variant.name]
        found |= {
            f"{name}.cpu": cpu[variant.name],
            f"{name}.least": min(one.cpu for one in measured),
            f"{name}.most": max(one.cpu for one in measured),
            f"{name}.ratio": cpu[variant.name] / cpu[variant.against],
            f"{name}.wal": statistics.median(one.wal for one in measured),
            f"{name}.table": size.table,
            f"{name}.indexes": size.indexes,
        }
    return found | {"storage.noise": 100 * abs(cpu[AGAIN] / cpu[AS_IS] - 1)}
