"""What topics must be, how to get there, and what the disk allows."""

from datetime import UTC, datetime

import pytest
from argus_contract.names import TopicName
from argus_contract.sizes import DEAD_LETTER_OVERHEAD, MAX_EVENT, RECORD_OVERHEAD
from argus_operator import topics
from argus_operator.errors import RefusedError
from argus_operator.models.common import Meta
from argus_operator.models.pipeline import PipelineSpec
from argus_operator.topics import (
    Backlog,
    Configure,
    Create,
    DiskBudget,
    Grow,
    TopicSpec,
    TopicState,
)
from hypothesis import given
from hypothesis import strategies as st

META = Meta(
    name="web",
    namespace="n",
    uid="0a1b2c3d-0000-0000-0000-000000000000",
    creation_timestamp=datetime(2026, 1, 1, tzinfo=UTC),
)
MIB = 1 << 20
A, B = TopicName("argus.a"), TopicName("argus.b")


def spec(**topic: object) -> PipelineSpec:
    return PipelineSpec.model_validate({"tenantRef": {"name": "shop"}, "topic": topic})


def test_a_topic_as_its_spec_says() -> None:
    asked = spec(partitions=4, retention={"hours": 2, "bytes": "64Mi"})
    made = topics.event_topic(META, asked, 0, 2)

    assert (made.name, made.partitions) == ("argus.n.web.0a1b2c3d", 4)
    assert made.configs == {
        "cleanup.policy": "delete",
        "retention.ms": "7200000",
        "retention.bytes": str(16 * MIB),
        "segment.bytes": str(4 * MIB),
        "max.message.bytes": str(MAX_EVENT + RECORD_OVERHEAD),
        "min.insync.replicas": "2",
        "message.timestamp.type": "LogAppendTime",
    }


def test_a_dead_letter_topic_takes_a_record_and_its_headers() -> None:
    made = topics.dead_letter_topic(META, spec(), 0, 1)

    assert (made.name, made.partitions) == ("argus.n.web.0a1b2c3d.dead", 1)
    assert int(made.configs["max.message.bytes"]) == (
        MAX_EVENT + RECORD_OVERHEAD + DEAD_LETTER_OVERHEAD
    )


@given(
    partitions=st.integers(1, 64), mebibytes=st.integers(16, 1 << 20), existing=st.integers(0, 99)
)
def test_a_topic_never_keeps_more_than_asked_in_segments_of_a_quarter(
    partitions: int, mebibytes: int, existing: int
) -> None:
    asked = spec(partitions=partitions, retention={"bytes": f"{mebibytes * partitions}Mi"})
    made = topics.event_topic(META, asked, existing, 1)
    kept = int(made.configs["retention.bytes"])

    assert made.partitions == max(partitions, existing)
    assert kept * made.partitions <= mebibytes * partitions * MIB
    assert int(made.configs["segment.bytes"]) * 4 <= kept


WANTED = TopicSpec(A, 2, {"retention.ms": "1"})


@pytest.mark.parametrize(
    ("observed", "actions"),
    [
        (None, [Create(WANTED)]),
        (TopicState(2, {"retention.ms": "1", "other": "x"}), []),
        (TopicState(1, {"retention.ms": "1"}), [Grow(A, 2)]),
        (TopicState(3, {"retention.ms": "1"}), []),
        (TopicState(2, {"retention.ms": "2"}), [Configure(A, WANTED.configs)]),
        (TopicState(2, {}), [Configure(A, WANTED.configs)]),
        (TopicState(1, {}), [Grow(A, 2), Configure(A, WANTED.configs)]),
    ],
)
def test_the_plan_is_the_least_that_helps(
    observed: TopicState | None, actions: list[topics.Action]
) -> None:
    assert topics.plan(WANTED, observed) == actions


def test_facts_of_a_topic_that_exists() -> None:
    state = TopicState(4, {"retention.bytes": "100", "retention.ms": "7200000"})

    assert (state.retention_bytes, state.retention_seconds) == (400, 7_200)
    assert TopicState(1, {"retention.bytes": "-1"}).retention_bytes == 0


def kept(bytes_: int, ms: int) -> dict[str, str]:
    return {"retention.bytes": str(bytes_), "retention.ms": str(ms)}


@pytest.mark.parametrize(
    ("before", "after", "lowered"),
    [
        (kept(100, 100), kept(100, 100), False),
        (kept(100, 100), kept(200, 200), False),
        (kept(100, 100), kept(99, 200), True),
        (kept(100, 100), kept(200, 99), True),
        (kept(-1, 100), kept(100, 100), True),
        (kept(100, -1), kept(100, 100), True),
    ],
)
def test_keeping_less_by_either_measure_is_lowering(
    before: dict[str, str], after: dict[str, str], lowered: bool
) -> None:
    assert topics.lowers(TopicSpec(A, 1, after), TopicState(1, before)) is lowered


@pytest.mark.parametrize(
    ("before", "backlog", "endangered"),
    [
        (kept(100, 100), Backlog(0.32, False), False),
        (kept(100, 100), Backlog(0.33, False), True),
        (kept(100, 100), Backlog(0.01, True), True),
        (kept(-1, 100), Backlog(0.01, False), True),
        (kept(-1, 100), Backlog(0.0, False), False),
    ],
)
def test_unread_records_must_fit_into_what_will_be_kept(
    before: dict[str, str], backlog: Backlog, endangered: bool
) -> None:
    wanted = TopicSpec(A, 1, kept(50, 50))

    assert topics.endangers(wanted, TopicState(1, before), backlog) is endangered


class TestDiskBudget:
    def test_without_a_bound_everything_goes(self) -> None:
        DiskBudget(None, 1, 1).reserve({A: 1 << 60})

    def test_what_fits_exactly_goes_and_one_byte_more_does_not(self) -> None:
        budget = DiskBudget(100, 1.5, 1)
        budget.reserve({A: 150})
        with pytest.raises(RefusedError, match=r"topic\.retention\.bytes"):
            budget.reserve({B: 1})
        assert budget.asked == 150

    def test_replicas_count(self) -> None:
        with pytest.raises(RefusedError):
            DiskBudget(100, 1, 3).reserve({A: 34})

    def test_what_exists_already_counts(self) -> None:
        budget = DiskBudget(100, 1, 1)
        budget.observe({A: TopicState(2, {"retention.bytes": "40"})})
        with pytest.raises(RefusedError):
            budget.reserve({B: 21})
        budget.reserve({B: 20})

    def test_the_same_again_and_less_always_go(self) -> None:
        budget = DiskBudget(100, 1, 1)
        budget.observe({A: TopicState(1, {"retention.bytes": "500"})})
        budget.reserve({A: 500})
        budget.reserve({A: 400})
        with pytest.raises(RefusedError):
            budget.reserve({A: 401})

    def test_what_is_released_can_be_asked_for_again(self) -> None:
        budget = DiskBudget(100, 1, 1)
        budget.reserve({A: 100})
        budget.release([A, B])
        budget.reserve({B: 100})


EXTERNAL = {"name": "shop-events", "deadLetterName": "shop-letters"}


def test_a_pipeline_has_the_topics_that_it_names_else_those_that_are_made_for_it() -> None:
    made = topics.named(META, spec())

    assert made.both == ("argus.n.web.0a1b2c3d", "argus.n.web.0a1b2c3d.dead")
    assert topics.named(META, spec(external=EXTERNAL)).both == ("shop-events", "shop-letters")


FIT = TopicState(3, {"cleanup.policy": "delete", "max.message.bytes": "1048588"})


@pytest.mark.parametrize(
    ("state", "letters", "told"),
    [
        (FIT, False, None),
        (TopicState(3, {}, readable=False), False, None),
        (TopicState(1, {}, readable=False), True, None),
        (FIT, True, "3 partitions"),
        (TopicState(1, {"cleanup.policy": "compact"}), False, "cleanup.policy=compact"),
        (TopicState(1, {"cleanup.policy": "compact,delete"}), True, "cleanup.policy=compact"),
        (TopicState(1, {"max.message.bytes": "1000"}), False, str(topics.MAX_BATCH)),
        (TopicState(1, {"max.message.bytes": str(topics.MAX_BATCH)}), False, None),
        (
            TopicState(1, {"max.message.bytes": str(topics.MAX_BATCH)}),
            True,
            str(topics.MAX_LETTER_BATCH),
        ),
    ],
)
def test_a_topic_of_another_is_refused_only_for_what_would_lose_or_hide_records(
    state: TopicState, letters: bool, told: str | None
) -> None:
    problem = topics.misfit(TopicName("shop-events"), state, letters=letters)

    assert problem is None if told is None else problem is not None and told in problem


def test_kafkas_own_topics_are_nobodys() -> None:
    assert topics.misfit(TopicName("__consumer_offsets"), FIT, letters=False) is not None


@given(
    told=st.dictionaries(
        st.sampled_from(["retention.ms", "retention.bytes"]),
        st.integers(-1, 1 << 50).map(str),
    ),
    partitions=st.integers(1, 2_000),
)
def test_what_may_be_unread_is_always_bounded_and_by_kafka_where_it_tells(
    told: dict[str, str], partitions: int
) -> None:
    asked = spec(external=EXTERNAL, retention={"hours": 2, "bytes": "64Mi"})
    state = topics.bounded(TopicState(partitions, {"other": "x"} | told), asked)
    known = {name: value for name, value in told.items() if int(value) > 0}

    assert (state.partitions, state.configs["other"]) == (partitions, "x")
    assert known.items() <= state.configs.items()
    assert int(state.configs["retention.ms"]) == int(known.get("retention.ms", 7_200_000))
    assert state.retention_bytes > 0
    assert "retention.bytes" in known or state.retention_bytes <= 64 * MIB
