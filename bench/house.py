"""What a bench measures: processes by component, where requests go, and tenants by group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argus_runtime.settings import RedisSettings

from bench.budgets import MODES
from bench.engines import Images
from bench.provision import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a bench is run."""

    images: Images | None = None
    """The engines', where the bench itself starts them."""
    runs: int = 5
    seconds: float = 8.0
    """Of each run's window."""
    latency_seconds: float = 15.0
    ingest: int = 1
    """Processes of ingest."""
    stream: int = 1
    """Processes of stream."""
    partitions: int = 1
    """Of each pipeline's topic, as of one that asks for no more."""
    addresses: int = 1000
    connections: int = 256
    batch: int = 100
    batch_connections: int = 8
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


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A running system."""

    database: Mapping[str, Any]
    """How asyncpg connects to it."""
    redis: RedisSettings
    ports: tuple[int, ...]
    """Where ingest listens on this host."""
    roots: Mapping[str, tuple[int, ...]]
    """Process trees by the names that budgets use."""
    tenants: Mapping[str, Sequence[Tenant]]
    """By group."""
