"""With one engine away `argus doctor` says which, and finds the others well."""

import json
from typing import Any

import pytest
from argus_cli.doctor import database, kafka, redis
from argus_cli.doctor.findings import State

from tests.chaos import pods
from tests.chaos.scenarios.conftest import Say
from tests.chaos.scenarios.console import argus
from tests.chaos.scenarios.outage import away, eventually

SUBJECTS = {"kafka": kafka.SUBJECT, "valkey": redis.SUBJECT, "postgres": database.SUBJECT}
WITHIN_S = 120.0

pytestmark = pytest.mark.timeout(300)


async def examined() -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Exit code, and the findings by what they are about."""
    done = await argus("doctor", "--json", "--timeout", "5", within=WITHIN_S)
    findings: dict[str, list[dict[str, Any]]] = {}
    for one in json.loads(done.output)["findings"]:
        findings.setdefault(one["subject"], []).append(one)
    return done.code, findings


async def well() -> bool | None:
    """True once nothing is wrong."""
    code, _ = await examined()
    return True if code == 0 else None


@pytest.mark.parametrize("engine", SUBJECTS)
async def test_the_doctor_names_the_engine_that_is_away(engine: str, say: Say) -> None:
    await eventually(well, WITHIN_S, "nothing is wrong before")

    async with away(engine):
        code, findings = await examined()
    await pods.all_ready()
    await eventually(well, WITHIN_S, "nothing is wrong afterwards")

    [named] = findings[SUBJECTS[engine]]
    say(f"{engine} away: {named['subject']} {named['state']}: {named['said']}. {named['advice']}")
    assert code == 1
    assert named["state"] == State.WRONG
    assert named["advice"]
    for subject in SUBJECTS.values():
        if subject != SUBJECTS[engine]:
            assert {one["state"] for one in findings[subject]} <= {State.WELL, State.NOTABLE}
