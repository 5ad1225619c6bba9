"""What PostgreSQL must hold, and whose it is."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from argus_operator import schemas
from argus_operator.errors import RefusedError
from argus_operator.models.common import Meta
from argus_operator.models.pipeline import PipelineSpec
from argus_operator.schemas import PipelineObserved

BORN = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = schemas.tenant_schema(
    Meta(name="shop", namespace="n", uid="11111111-0000", creation_timestamp=BORN)
)
WANTED = schemas.pipeline_tables(
    TENANT,
    Meta(name="web-app", namespace="n", uid="22222222-0000", creation_timestamp=BORN),
    PipelineSpec.model_validate({"tenantRef": {"name": "shop"}, "dedupeWindow": "2h"}),
    4,
)
THERE = PipelineObserved(
    schema="t_n_shop_11111111",
    events_table="events_web_app",
    rollup_table="rollup_web_app",
    ids_table="ids_web_app",
    role="t_n_shop_11111111_ro",
    chunk_interval=timedelta(days=1),
    retention=timedelta(days=90),
    dedupe_window=timedelta(hours=2),
    partitions=4,
)


def test_names_and_durations_come_from_metadata_and_spec() -> None:
    assert (TENANT.tenant_id, TENANT.schema) == ("n.shop.11111111", "t_n_shop_11111111")
    assert (WANTED.topic, WANTED.table) == ("argus.n.web-app.22222222", "events_web_app")
    assert (WANTED.chunk_interval, WANTED.retention, WANTED.dedupe_window) == (
        timedelta(days=1),
        timedelta(days=90),
        timedelta(hours=2),
    )


def test_what_is_there_is_in_step() -> None:
    assert schemas.in_step(WANTED, THERE)
    schemas.check_owner(WANTED, THERE, WANTED.tenant.schema)


@pytest.mark.parametrize(
    "drift",
    [
        {"schema": None},
        {"events_table": None},
        {"rollup_table": None},
        {"ids_table": None},
        {"role": None},
        {"chunk_interval": timedelta(hours=1)},
        {"retention": timedelta(days=1)},
        {"dedupe_window": None},
        {"partitions": 1},
    ],
)
def test_any_drift_is_out_of_step(drift: dict[str, Any]) -> None:
    drifted = dataclasses.replace(THERE, **drift)

    assert not schemas.in_step(WANTED, drifted)
    schemas.check_owner(WANTED, drifted, WANTED.tenant.schema)


@pytest.mark.parametrize("other", [{"retained": True}, {"schema": "t_n_shop_00000000"}])
def test_data_of_an_earlier_tenant_is_not_taken_over(other: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match="create it again"):
        schemas.check_owner(WANTED, dataclasses.replace(THERE, **other), None)


def test_nor_are_events_that_wait_in_the_topic_of_a_dropped_table() -> None:
    with pytest.raises(RefusedError, match="create it again"):
        schemas.check_owner(WANTED, schemas.PipelineObserved(), "t_n_shop_00000000")
