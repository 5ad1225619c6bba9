"""A real broker stands still or dies under load, and comes back.

Meanwhile every request is answered 503 in time, with Retry-After; the process holds no more than it
may; afterwards the first event is accepted within seconds, and no event that was answered 202 is
missing. The figures are printed.
"""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from argus_contract import envelope
from argus_contract.sizes import MIB

from tests.integration.ingest.brokers import Broker, own_broker
from tests.integration.ingest.conftest import (
    Edge,
    Kafka,
    Tenant,
    eventually,
    open_broker,
    pipeline,
    running_edge,
    tenant,
)
from tests.integration.ingest.wire import HOST, Connection, request

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTAGE: Final = 9.0
"""Seconds; several delivery timeouts, so that what is given up is given up more than once."""
DELIVERY: Final = 2.0
RECOVERY: Final = 5.0
"""Seconds from the broker's return to the first 202."""
SLACK: Final = 2.0
"""Seconds that a busy machine may add to a bound."""
CLIENTS: Final = 24
HASTE: Final = 0.02
"""Seconds after which an impatient client hangs up, and another one comes."""
BUDGET: Final = 24 * MIB
SETTINGS: Final = {
    "PUBLISH__DELIVERY_TIMEOUT": str(DELIVERY),
    "LIMITS__BODY_BYTES": str(MIB),
    "LIMITS__INFLATED_BYTES": str(2 * MIB),
    "LIMITS__BYTES_IN_FLIGHT": str(BUDGET),
}
PADDING: Final = "x" * 40_000
"""A second of impatient clients with events of this size is more than the budget."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker() -> AsyncIterator[Broker]:
    async with own_broker() as made:
        yield made


class Load:
    """Clients that send events without pause and remember what became of each."""

    def __init__(self, edge: Edge, who: Tenant) -> None:
        self._edge = edge
        self._who = who
        self.acknowledged: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.last_success = 0.0
        self.first_success_after = 0.0
        self.slowest_refusal = 0.0
        self._mark = float("inf")

    def _event(self, own: str) -> bytes:
        event = {"event": "load", "id": own, "properties": {"padding": PADDING}}
        return request(self._who.server_key, json.dumps(event).encode())

    async def first(self) -> float:
        """Seconds from the mark to the first success, 0 while there is none."""
        return self.first_success_after

    def mark(self) -> None:
        """From now on the next success counts as the first."""
        self._mark, self.first_success_after = time.monotonic(), 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Sends one event after another and waits for each answer."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client(stop))

    async def _client(self, stop: asyncio.Event) -> None:
        connection = Connection(self._edge.port)
        while not stop.is_set():
            own = str(uuid.uuid4())
            sent = time.monotonic()
            answer = await connection.send(self._event(own))
            self.statuses[answer.status] += 1
            if answer.status == 202:
                self.acknowledged.add(own)
                self.last_success = time.monotonic()
                if sent > self._mark and not self.first_success_after:
                    self.first_success_after = time.monotonic() - self._mark
            else:
                assert answer.status == 503, answer
                assert int(answer.headers["retry-after"]) >= 1
                self.slowest_refusal = max(self.slowest_refusal, answer.seconds)
                await asyncio.sleep(0.05)
        connection.close()

    async def hurry(self, stop: asyncio.Event) -> None:
        """Sends as many events again, and waits for no answer."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._impatient(stop))

    async def _impatient(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            _, writer = await asyncio.open_connection(HOST, self._edge.port)
            writer.write(self._event(str(uuid.uuid4())))
            await asyncio.sleep(HASTE)
            writer.transport.abort()


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no VmRSS of {pid}")


async def stored(kafka: Kafka, topic: str) -> set[str]:
    return {envelope.decode(record.value).id for record in await kafka.records(topic)}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_an_outage_is_503_in_time_and_in_bounded_memory_and_ends_at_once(
    broker: Broker, how: str
) -> None:
    async with open_broker(broker.bootstrap) as kafka:
        acme = tenant(pipeline("main", await kafka.create()))
        await kafka.publish(acme)
        async with running_edge(kafka, **SETTINGS) as edge:
            await edge.until_ready()
            load, stop = Load(edge, acme), asyncio.Event()
            running = asyncio.create_task(load.run(stop))
            await asyncio.sleep(3)
            before, healthy = resident(edge.process.pid), load.statuses[202]
            assert healthy > 0
            await (broker.freeze() if how == "frozen" else broker.kill())
            largest, held, calm = before, 0.0, asyncio.Event()
            hurrying = asyncio.create_task(load.hurry(calm))
            for _ in range(round(OUTAGE / 0.5)):
                await asyncio.sleep(0.5)
                largest = max(largest, resident(edge.process.pid))
                held = max(held, (await edge.metrics())["argus_ingest_bytes_in_flight"])
            calm.set()
            await hurrying
            refused = load.statuses[503]
            labels = f'reason="busy",tenant="{acme.document.display}"'
            busy = (await edge.metrics())[f"argus_ingest_unavailable_total{{{labels}}}"]
            assert (await edge.ready())[0] == 200
            if how == "frozen":
                load.mark()
                await broker.thaw()
            else:
                await broker.start()
                await broker.answers()
                load.mark()
            first = await eventually(load.first, lambda after: after > 0, RECOVERY + SLACK)
            stop.set()
            await running
        found = await stored(kafka, acme.topic)
    print(
        f"\n{how} for {OUTAGE:g} s: {dict(load.statuses)}, {refused} refused within "
        f"{load.slowest_refusal:.2f} s each; {busy:g} others at once; at most {held / MIB:.1f} of "
        f"{BUDGET / MIB:g} MiB in flight; memory {before / MIB:.0f} -> {largest / MIB:.0f} MiB; "
        f"first 202 {first:.2f} s after the return; {len(load.acknowledged)} "
        f"acknowledged, {len(load.acknowledged - found)} of them missing"
    )
    assert refused > CLIENTS
    assert busy > 0
    assert load.slowest_refusal <= DELIVERY + SLACK
    assert held <= BUDGET
    assert largest - before <= 3 * BUDGET
    assert first <= RECOVERY
    assert not load.acknowledged - found
