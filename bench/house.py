"""What is measured, whole: engines, tenants and processes, started together, gone at the end."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import chart, engines, processes, provision, report
from bench.budgets import MODES
from bench.connections import Connections, connections
from bench.engines import Engines, Images
from bench.processes import Component
from bench.provision import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a bench is run."""

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
    peer: Path | None = None
    """The collector's program; None leaves the comparison out."""
    profile: Path | None = None
    """Where flame graphs go; None makes none."""

    def figures(self) -> dict[str, float]:
        """The numbers among it, for the results."""
        names = ("runs", "seconds", "ingest", "stream", "partitions", "addresses", "batch")
        more = ("connections", "batch_connections", "latency_seconds")
        return {name: float(getattr(self, name)) for name in (*names, *more)}


@dataclass(frozen=True, slots=True)
class Group:
    """Tenants that share a load."""

    tenants: int = 1
    pipelines: int = 1
    """Of each tenant."""
    partitions: int = 1
    """Of each pipeline."""


@dataclass(frozen=True, slots=True)
class House:
    """The running system: its engines, its processes, and its tenants by group."""

    where: Connections
    engines: Engines
    ingest: Component
    stream: Component
    tenants: Mapping[str, Sequence[Tenant]]
    scratch: Path
    """Where configuration files and logs are."""

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
def house(setting: Setting, groups: Mapping[str, Group], scratch: Path) -> Iterator[House]:
    """Everything, until the block ends. `scratch` takes configuration files and logs."""
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
            yield House(where, running, ingest, stream, tenants, scratch)


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
