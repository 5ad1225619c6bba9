"""The operator's settings, from `ARGUS_…` environment variables; validated whole at start."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from argus_contract.sizes import MAX_EVENTS
from argus_runtime.settings import (
    DatabaseSettings,
    KafkaSettings,
    ProcessSettings,
    RedisSettings,
    Section,
)
from pydantic import Field, SecretStr, TypeAdapter, model_validator

from argus_operator.jobs import Template
from argus_operator.models.common import Mode, Model
from argus_operator.models.tenant import AddressBucket, Concurrency, KeyBucket, Quota


class Tier(Model):
    """Limits that tenants share by naming the tier."""

    per_key: KeyBucket = KeyBucket(rate=5_000, burst=2 * MAX_EVENTS)
    per_ip: Annotated[AddressBucket, Field(alias="perIP")] = AddressBucket(rate=50, burst=100)
    limit_server_keys_by_ip: Annotated[bool, Field(alias="limitServerKeysByIP")] = False
    quota: Quota = Quota()
    concurrency: Concurrency | None = None
    mode: Mode = Mode.ENFORCE


Tiers = Mapping[str, Tier]
_TIERS: TypeAdapter[Tiers] = TypeAdapter(Tiers)


class ResyncSettings(Section):
    """How often the world is looked at without being told of a change."""

    interval: float = Field(default=30.0, gt=0)
    """Seconds between two rounds, which look at every tenant of which anything has changed; also
    how often the marker is published, the ledger read, and the figures in a pipeline's status
    written where they changed."""
    full: float = Field(default=600.0, gt=0)
    """Seconds in which every tenant is looked at once, whatever is seen to change or not."""
    secrets: float = Field(default=60.0, gt=0)
    """Seconds in which each tenant's Secret is looked at once."""
    expire_interval: float = Field(default=300.0, gt=0)
    """Seconds between two runs of the job that drops rows past their retention."""
    stalled_after: float = Field(default=300.0, gt=0)
    """Seconds without a finished round after which /healthz fails."""


class ReconcileSettings(Section):
    """How one tenant is reconciled."""

    workers: int = Field(default=8, ge=1, le=64)
    """Tenants that are reconciled at once."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds that one tenant may take, all steps together."""
    step_timeout: float = Field(default=20.0, gt=0)
    """Seconds that one step with one dependency may take."""
    backoff: float = Field(default=1.0, gt=0)
    """Seconds before the first new attempt; doubled each time, with jitter."""
    backoff_max: float = Field(default=30.0, gt=0)
    """Longest wait before a new attempt, in seconds."""
    settle: float = Field(default=3.0, ge=0)
    """Seconds between a change of the registry and the dropping of what it no longer names."""


class AuditSettings(Section):
    """How often rows and letters are counted and held against the ledger, one pipeline at a time.

    A count reads all of a pipeline's table.
    """

    interval: float = Field(default=21_600.0, ge=0)
    """Seconds between two audits of a pipeline; 0 turns them off, and then no verdict counts."""
    timeout: float = Field(default=900.0, gt=0)
    """Seconds that one audit may take in the database."""


class LeaseSettings(Section):
    """Who leads where two operators run; times in seconds."""

    namespace: str | None = None
    """Namespace of the Lease; absent: there is none, and every operator leads."""
    name: str = "argus-operator"
    """Name of the Lease."""
    duration: float = Field(default=15.0, gt=0)
    """How long a leader may be silent before another takes its place."""
    renew: float = Field(default=5.0, gt=0)
    """Between two renewals."""
    retry: float = Field(default=1.0, gt=0)
    """Between two looks of who waits."""

    @model_validator(mode="after")
    def _check_renewal(self) -> Self:
        if self.renew * 2 > self.duration:
            raise ValueError(
                f"ARGUS_LEASE__RENEW={self.renew} is more than half of "
                f"ARGUS_LEASE__DURATION={self.duration}: one late renewal would be the end"
            )
        return self


class OperatorSettings(ProcessSettings):
    """All that the operator is told."""

    kafka: KafkaSettings
    """Where topics and the registry are made."""
    redis: RedisSettings
    """Where ingest counts, and where counters of what is deleted are dropped."""
    database: DatabaseSettings
    """Where schemas are made; the role must own the database."""
    tiers: Tiers = Field(default_factory=lambda: {"standard": Tier()})
    """Tiers by name, as JSON."""
    tiers_file: Path | None = None
    """File with the same JSON; wins over `tiers`."""
    kafka_disk_bytes: int | None = Field(default=None, gt=0)
    """Size of Kafka's disks together, in bytes; absent: topics are not held against it."""
    kafka_overcommit: float = Field(default=1.0, gt=0)
    """How many times the disk all topics together may ask for."""
    replication_factor: int = Field(default=1, ge=1)
    """Replicas of each topic."""
    min_insync: int = Field(default=1, ge=1)
    """Replicas that must have a record before it is acknowledged."""
    stream_password: SecretStr
    """Password that the role `argus_stream` is given."""
    reader_password: SecretStr
    """Password that the role `argus_reader` is given."""
    replay_template: Path | None = None
    """File with the Job, as JSON, that runs a replay; absent: no replay is run."""
    resync: ResyncSettings = ResyncSettings()
    """Periodic work."""
    watch_stalled_after: float = Field(default=90.0, gt=0)
    """Seconds for which the watch may not tell of what a list shows before /healthz fails."""
    audit: AuditSettings = AuditSettings()
    """The periodic audit."""
    reconcile: ReconcileSettings = ReconcileSettings()
    """Work on one tenant."""
    lease: LeaseSettings = LeaseSettings()
    """Which operator leads."""

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.min_insync > self.replication_factor:
            raise ValueError(
                f"ARGUS_MIN_INSYNC={self.min_insync} is more than "
                f"ARGUS_REPLICATION_FACTOR={self.replication_factor}: nothing could be written"
            )
        return self

    def load_replay_template(self) -> Template | None:
        """The Job of replays; raises OSError, and ValueError where the file holds no Job."""
        return None if self.replay_template is None else Template.load(self.replay_template)

    def load_tiers(self) -> Tiers:
        """The tiers, from the file if there is one.

        Raises OSError where it cannot be read and ValueError where it does not hold tiers.
        """
        if self.tiers_file is None:
            return self.tiers
        return read_tiers(self.tiers_file)


def read_tiers(file: Path) -> Tiers:
    """The tiers in a file; raises OSError where it cannot be read, ValueError for anything else."""
    return _TIERS.validate_python(json.loads(file.read_text()))
