"""ArgusReplay, as crds/argusreplays.yaml defines it."""

from datetime import datetime
from typing import Annotated, Final

from argus_contract.rejects import Code
from pydantic import Field

from argus_operator.models.common import Condition, Model, Name, ReasonCounts
from argus_operator.models.pipeline import Pattern

KIND: Final = "ArgusReplay"
PLURAL: Final = "argusreplays"


class PipelineRef(Model):
    """A pipeline in the same namespace."""

    name: Name


class Filter(Model):
    """Which dead letters; without a field all of them."""

    reasons: Annotated[tuple[Code, ...], Field(max_length=16)] = ()
    events: Annotated[tuple[Pattern, ...], Field(max_length=64)] = ()
    from_: Annotated[datetime | None, Field(alias="from")] = None
    to: datetime | None = None


class ReplaySpec(Model):
    """Which dead letters of a pipeline are tried again."""

    pipeline_ref: PipelineRef
    filter: Filter = Filter()
    dry_run: bool = False
    rate_per_second: Annotated[int, Field(ge=1, le=100_000)] = 500


class ReplayStatus(Model):
    """What became of them."""

    observed_generation: int | None = None
    job: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    matched: int | None = None
    passing: int | None = None
    replayed: int | None = None
    stored: int | None = None
    duplicate: int | None = None
    failed: int | None = None
    skipped: int | None = None
    settled: int | None = None
    refused: ReasonCounts | None = None
    conditions: tuple[Condition, ...] = ()
