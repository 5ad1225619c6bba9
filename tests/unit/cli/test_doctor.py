import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from argus_cli.doctor import database, examination, findings, kafka, pods
from argus_cli.doctor.findings import Finding, State, as_document, unreached, well, wrong
from argus_cli.settings import Settings
from argus_contract import registry
from argus_contract.names import TenantId
from argus_contract.registry import Bucket, Limits, Marker, TenantDocument
from argus_runtime import assets
from argus_runtime.registry import Replica

from tests.unit.cli.dead_letters import PIPELINE

NOW = 1_800_000_000.0
DOCUMENT = TenantDocument(
    TenantId("shop.acme.0f3a9c21"),
    "shop",
    "acme",
    1,
    Limits(per_key=Bucket(1, 1), per_ip=Bucket(1, 1)),
    pipelines=(PIPELINE,),
)


def replica(*, age: float = 10, counted: int = 1, documents: int = 1) -> Replica:
    made = Replica()
    for _ in range(documents):
        made.apply(DOCUMENT.id.encode(), registry.encode(DOCUMENT))
    marker = Marker(round((NOW - age) * 1000), counted)
    made.apply(registry.MARKER_KEY.encode(), registry.encode(marker))
    return made


def row(**changes: Any) -> dict[str, Any]:
    return {
        "namespace": "shop",
        "pipeline": "web",
        "in_flight": 0,
        "lost": 0,
        "balanced": True,
        "state": "open",
        "reason": None,
        "late": None,
    } | changes


@pytest.mark.parametrize(
    ("found", "state", "said"),
    [
        (replica(), State.WELL, "confirmed 10s ago"),
        (Replica(), State.WRONG, "not complete"),
        (replica(counted=2), State.WRONG, "not complete"),
        (replica(age=3_600), State.WRONG, "last confirmed 1h 0m ago"),
        (replica(documents=0, counted=0), State.NOTABLE, "no tenant yet"),
    ],
)
def test_a_registry_is_whole_and_fresh_or_it_is_told(
    found: Replica, state: State, said: str
) -> None:
    finding = kafka.judged(found, NOW)

    assert finding.state is state
    assert said in finding.said


def test_every_topic_that_is_missing_or_too_small_is_named() -> None:
    present: dict[str, int] = {PIPELINE.topic: 2, PIPELINE.dead_letter_topic: 1}

    assert kafka.missing([DOCUMENT], present).state is State.WELL
    gone = kafka.missing([DOCUMENT], {PIPELINE.topic: 1})
    assert gone.state is State.WRONG
    assert f"{PIPELINE.topic} has 1 of 2 partitions" in gone.said
    assert f"{PIPELINE.dead_letter_topic} has 0 of 1 partitions" in gone.said


@pytest.mark.parametrize(
    ("found", "state"),
    [(None, State.WRONG), (3, State.WRONG), (4, State.WELL), (5, State.NOTABLE)],
)
def test_the_schema_is_held_against_what_this_release_needs(
    found: int | None, state: State
) -> None:
    assert database.migrated(found, 4).state is state


def test_this_release_needs_the_last_migration_that_it_brings() -> None:
    assert database.needed() == len(list(assets.path("db", "migrations").iterdir()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": "paused", "reason": "disk full"}, "it is paused: disk full"),
        ({"state": "stopped", "reason": "the log ends"}, "it is stopped: the log ends"),
        ({"state": "guarded"}, "it is guarded"),
        ({"lost": 7, "balanced": False}, "7 records were lost"),
        ({"balanced": False}, "unbalanced"),
    ],
)
def test_a_pipeline_that_is_not_well_is_named_with_what_to_do(
    changes: dict[str, Any], said: str
) -> None:
    [finding] = database.of_pipeline(row(**changes))

    assert finding.state is State.WRONG
    assert finding.subject == "pipeline shop/web"
    assert said in finding.said
    assert finding.advice


def test_a_pipeline_that_is_late_is_worth_a_word_only() -> None:
    [finding] = database.of_pipeline(row(in_flight=9, late=90.0))

    assert finding.state is State.NOTABLE
    assert "9 records wait, the oldest for 1m 30s" in finding.said
    assert database.of_pipeline(row(in_flight=9, late=5.0)) == []
    assert database.of_pipeline(row(state=None)) == []


def pod(status: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"namespace": "argus", "name": "argus-ingest-1"}, "status": status}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"phase": "Pending"}, "it is Pending and not ready"),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node"}]},
            "no node",
        ),
        (
            {
                "containerStatuses": [
                    {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 4}
                ]
            },
            "CrashLoopBackOff, after 4 restarts",
        ),
    ],
)
def test_a_pod_that_is_not_ready_is_named_with_its_reason(
    status: dict[str, Any], said: str
) -> None:
    finding = pods.of_pod(pod(status))

    assert finding is not None
    assert finding.subject == "pod argus/argus-ingest-1"
    assert said in finding.said


def test_a_pod_that_is_ready_or_done_is_well() -> None:
    assert pods.of_pod(pod({"conditions": [{"type": "Ready", "status": "True"}]})) is None
    assert pods.of_pod(pod({"phase": "Succeeded"})) is None


def wrapped(error: BaseException) -> BaseException:
    """The error as a client passes it on."""
    outer = httpx.ConnectError("All connection attempts failed")
    outer.__cause__ = OSError("Multiple exceptions")
    outer.__cause__.__context__ = ExceptionGroup("several", [ValueError(), error])  # type: ignore[type-var]
    return outer


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "does not answer in time"),
        (ConnectionRefusedError(), "nothing listens at here:1"),
        (socket.gaierror(-2, "unknown"), "is not known here"),
        (ssl.SSLError(1, "certificate verify failed"), "TLS fails"),
        (OSError(5, "input/output error"), "cannot be reached"),
    ],
)
def test_trouble_on_the_network_is_told_in_words(error: Exception, said: str) -> None:
    finding = unreached("Kafka", "here:1", error, "Does it run?")

    assert finding.state is State.WRONG
    assert said in finding.said
    assert finding.advice
    if findings.cause(error) is error and type(error) is not OSError:
        assert said in unreached("Kafka", "here:1", wrapped(error), "Does it run?").said


async def test_no_examination_hides_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(_: Settings, limit: float) -> AsyncIterator[Finding]:
        yield well("first", "it answers")
        await asyncio.sleep(3_600)
        yield well("first", "never")

    async def breaks(_: Settings, limit: float) -> AsyncIterator[Finding]:
        yield well("second", "it answers")
        raise RuntimeError("a defect")

    async def answers(_: Settings, limit: float) -> AsyncIterator[Finding]:
        yield well("third", "it answers")

    monkeypatch.setattr(examination, "EXAMINATIONS", (hangs, breaks, answers))

    async with asyncio.timeout(5):
        found = await examination.examined(Settings(), 0.05)

    assert [(one.subject, one.state) for one in found if one.state is State.WELL] == [
        ("first", State.WELL),
        ("second", State.WELL),
        ("third", State.WELL),
    ]
    told = [one.said for one in found if one.state is State.WRONG]
    assert any("not all questions were answered" in said for said in told)
    assert any("a defect of this command: RuntimeError: a defect" in said for said in told)


def test_the_document_says_whether_all_is_well() -> None:
    document = as_document(
        [well("Redis", "it answers"), wrong("Kafka", "it does not", "Start it.")]
    )

    assert document["well"] is False
    assert json.loads(json.dumps(document))["findings"][1] == {
        "subject": "Kafka",
        "state": "WRONG",
        "said": "it does not",
        "advice": "Start it.",
    }
    assert as_document([well("Redis", "it answers")])["well"] is True
