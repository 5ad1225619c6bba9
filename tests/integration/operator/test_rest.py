"""What many tenants at rest cost: a few calls a round, however many they are.

`ARGUS_REST_TENANTS`, `ARGUS_REST_INTERVAL` and `ARGUS_REST_FULL` set how many there are, the
seconds between two rounds, and those of the full pass; what is measured is printed.
"""

import asyncio
import json
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.integration.operator import apiserver, process
from tests.integration.operator.apiserver import OPERATOR
from tests.integration.operator.process import Engines, Operator
from tests.integration.operator.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(1_800)]

TENANTS = int(os.environ.get("ARGUS_REST_TENANTS", "20"))
INTERVAL_S = float(os.environ.get("ARGUS_REST_INTERVAL", "2"))
FULL_S = float(os.environ.get("ARGUS_REST_FULL", "1e7"))
"""So long that the turn of no tenant falls into what is measured."""
PATROL_S = 2 * INTERVAL_S
ROUNDS = 4
SPEC: dict[str, Any] = {
    "tenantRef": {"name": ""},
    "topic": {"retention": {"bytes": "16Mi"}},
    "deadLetter": {"retention": {"bytes": "16Mi"}},
    "deletionPolicy": "Delete",
}
LIMITED: dict[str, Any] = {
    "deletionPolicy": "Delete",
    "rateLimit": {"quota": {"daily": 1_000_000, "monthly": 10_000_000}},
}
SETTINGS = {
    "ARGUS_RESYNC__INTERVAL": str(INTERVAL_S),
    "ARGUS_RESYNC__FULL": str(FULL_S),
    "ARGUS_RESYNC__SECRETS": str(PATROL_S),
    "ARGUS_RESYNC__EXPIRE_INTERVAL": "300",
}


@asynccontextmanager
async def reporting(database: str, topics: list[str]) -> AsyncIterator[None]:
    """The stream's reports on pipelines to which nobody sends."""
    connection = await asyncpg.connect(database)
    numbers = [0] * len(topics)
    for topic in topics:
        await connection.execute("SELECT argus.open_partition($1, 0, 0)", topic)

    async def report() -> None:
        while True:
            await connection.execute(
                "SELECT argus.sample($1, $2, $3, $4)",
                *(topics, numbers, numbers, [None] * len(topics)),
            )
            await connection.execute(
                "SELECT argus.report_states($1, $2, $3, $4)",
                *(topics, numbers, ["open"] * len(topics), [None] * len(topics)),
            )
            await asyncio.sleep(10)

    task = asyncio.create_task(report())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        await connection.close()


async def looks(operator: Operator) -> str:
    """How many looks at a tenant were made so far, as /metrics has it."""
    _, text = await operator.ops_answer("/metrics")
    name = 'argus_operator_reconciles_total{kind="tenant",outcome="done"} '
    return next(line for line in text.splitlines() if line.startswith(name))


async def settled(operator: Operator) -> None:
    """Returns once neither two rounds nor a patrol have led to a look, if that is to happen."""
    await asyncio.sleep(PATROL_S + INTERVAL_S)
    before = ""
    async with asyncio.timeout(240):
        while FULL_S > INTERVAL_S and (now := await looks(operator)) != before:
            before = now
            await asyncio.sleep(2.2 * INTERVAL_S)


def cpu_seconds(pid: int) -> float:
    """What a process has used of a core so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_at_rest_nothing_is_asked_one_by_one(
    engines: Engines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = f"argus.registry.{secrets.token_hex(4)}"
    async with (
        apiserver.serving(tmp_path) as api,
        process.running(api, engines, topic, tmp_path / "log", SETTINGS) as operator,
    ):
        namespace = await operator.namespace()
        names = [f"shop-{number}" for number in range(TENANTS)]
        for name in names:
            await operator.create("argustenants", namespace, name, LIMITED)
            spec = SPEC | {"tenantRef": {"name": name}}
            await operator.create("arguspipelines", namespace, name, spec)
        ready = [
            await operator.wait("arguspipelines", namespace, name, "Accepting", seconds=240)
            for name in names
        ]
        async with reporting(engines.database, [found["status"]["topic"] for found in ready]):
            await settled(operator)
            calls, began = len(api.asked(OPERATOR)), time.monotonic()
            cpu = cpu_seconds(operator.process.pid)
            await asyncio.sleep(ROUNDS * INTERVAL_S)
            seconds = time.monotonic() - began
            cpu = cpu_seconds(operator.process.pid) - cpu
            asked = api.asked(OPERATOR)[calls:]
        await _remove(operator, namespace, names)

    minute = 60 / seconds
    verbs = Counter((entry["verb"], entry["objectRef"]["resource"]) for entry in asked)
    figures = {
        "tenants": TENANTS,
        "interval_s": INTERVAL_S,
        "full_s": FULL_S,
        "cpu_s_per_minute": round(cpu * minute, 2),
        "calls_per_minute": round(len(asked) * minute),
        "calls": {f"{verb} {what}": count for (verb, what), count in verbs.items()},
    }
    with capsys.disabled():
        print(f"\nat rest: {json.dumps(figures)}")

    assert not {"patch", "create", "update"} & {verb for verb, what in verbs if what != "leases"}
    assert not {what for verb, what in verbs if verb == "get"} - {"secrets"}
    assert verbs["get", "secrets"] <= TENANTS * seconds / PATROL_S + 2
    for kind in ("argustenants", "arguspipelines"):
        assert ROUNDS - 1 <= verbs["list", kind] <= ROUNDS + 1


async def _remove(operator: Operator, namespace: str, names: list[str]) -> None:
    """Takes topics and tables away again, for the engines are shared."""
    for name in names:
        await operator.delete("arguspipelines", namespace, name)
        await operator.delete("argustenants", namespace, name)

    async def gone() -> bool:
        path = f"{process.RESOURCES}/namespaces/{namespace}/arguspipelines"
        return not (await operator.kubernetes.call("GET", path))["items"]

    await eventually(gone, 300, every=1)
