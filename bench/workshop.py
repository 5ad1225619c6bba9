"""A house built for the bench: engines, tenants and processes on this host, gone at the end."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from argus_runtime import database as runtime_database

from bench import chart, engines, processes, provision, report
from bench.connections import Connections, connections
from bench.engines import Engines
from bench.house import Group, House, Setting
from bench.provision import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop(House):
    """A house whose engines can be used for more than the system that runs on them."""

    where: Connections
    engines: Engines
    scratch: Path
    """Where configuration files and logs are."""


@contextmanager
def workshop(setting: Setting, groups: Mapping[str, Group], scratch: Path) -> Iterator[Workshop]:
    """Everything, until the block ends. `scratch` takes configuration files and logs."""
    if setting.images is None:
        raise ValueError("engines cannot be started without their images")
    rendered = chart.render({**engines.values(), **processes.values(setting.ingest)})
    where = connections(rendered)
    report.progress("starting Kafka, Valkey and PostgreSQL")
    with engines.running(rendered, setting.images, scratch) as running:
        report.progress("migrating; making tenants, topics and tables")
        tenants = asyncio.run(_provision(where, groups))
        with (
            processes.running(rendered, "ingest", setting.ingest, scratch) as ingest,
            processes.running(rendered, "stream", setting.stream, scratch) as stream,
        ):
            yield Workshop(
                database=runtime_database.connect_options(where.database, "argus-bench"),
                redis=where.redis,
                ports=ingest.ports,
                roots={
                    "ingest": ingest.pids,
                    "kafka": (running["kafka"].pid,),
                    "redis": (running["valkey"].pid,),
                    "stream": stream.pids,
                    "postgres": (running["postgres"].pid,),
                },
                tenants=tenants,
                where=where,
                engines=running,
                scratch=scratch,
            )


async def _provision(
    where: Connections, groups: Mapping[str, Group]
) -> dict[str, Sequence[Tenant]]:
    async with provision.platform(where) as made:
        return {
            name: [
                await made.add_tenant(f"{name}-{number}", group.pipelines, group.partitions)
                for number in range(group.tenants)
            ]
            for name, group in groups.items()
        }
