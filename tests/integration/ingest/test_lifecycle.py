"""Start and end of the process, and clients that go away."""

import asyncio
import signal

from tests.integration.conftest import KAFKA_PORT
from tests.integration.ingest.conftest import (
    HOST,
    Edge,
    Kafka,
    Run,
    Tenant,
    eventually,
    pipeline,
    tenant,
)
from tests.integration.ingest.proxy import proxied

EVENT = b'{"event":"signup"}'


def head(who: Tenant, length: int) -> bytes:
    lines = (
        "POST /v1/events HTTP/1.1",
        "host: x",
        f"authorization: Bearer {who.server_key}",
        f"content-length: {length}",
        "",
        "",
    )
    return "\r\n".join(lines).encode()


async def new_tenant(broker: Kafka) -> Tenant:
    made = tenant(pipeline("main", await broker.create()))
    await broker.publish(made)
    return made


async def in_flight(edge: Edge) -> float:
    return (await edge.metrics())["argus_ingest_bytes_in_flight"]


async def test_sigterm_leaves_the_endpoints_and_finishes_what_is_in_flight(
    broker: Kafka, run_edge: Run
) -> None:
    acme = await new_tenant(broker)
    async with run_edge(HTTP__DRAIN="1.5") as edge:
        await edge.until_ready()
        reader, writer = await asyncio.open_connection(HOST, edge.port)
        writer.write(head(acme, len(EVENT)) + EVENT[:5])
        await eventually(lambda: in_flight(edge), lambda held: held > 0)
        edge.process.send_signal(signal.SIGTERM)
        assert (await eventually(edge.ready, lambda state: state[0] == 503))[1] == "draining\n"
        late = await edge.post(acme.server_key, EVENT)
        assert (late.status_code, late.headers["connection"]) == (202, "close")
        await asyncio.sleep(2)
        writer.write(EVENT[5:])
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert await asyncio.wait_for(edge.process.wait(), 20) == 0
    assert len(await broker.records(acme.topic)) == 2


async def test_sigterm_waits_for_kafka(broker: Kafka, run_edge: Run) -> None:
    acme = await new_tenant(broker)
    async with (
        proxied(KAFKA_PORT, is_kafka=True) as kafka,
        run_edge(KAFKA__BOOTSTRAP=f"{HOST}:{kafka.port}", PUBLISH__DELIVERY_TIMEOUT="10") as edge,
    ):
        await edge.until_ready()
        assert (await edge.post(acme.server_key, EVENT)).status_code == 202
        kafka.hang()
        waiting = asyncio.create_task(edge.post(acme.server_key, EVENT))
        await eventually(lambda: in_flight(edge), lambda held: held > 0)
        edge.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(1)
        assert not waiting.done()
        kafka.resume()
        assert (await waiting).status_code == 202


async def test_clients_that_go_away_leave_nothing(broker: Kafka, run_edge: Run) -> None:
    acme = await new_tenant(broker)
    async with (
        proxied(KAFKA_PORT, is_kafka=True) as kafka,
        run_edge(KAFKA__BOOTSTRAP=f"{HOST}:{kafka.port}") as edge,
    ):
        await edge.until_ready()
        assert (await edge.post(acme.server_key, EVENT)).status_code == 202
        await eventually(lambda: in_flight(edge), lambda held: held == 0)
        kafka.hang()
        writers = []
        for sent in range(0, len(EVENT) + 1, 3):
            _, writer = await asyncio.open_connection(HOST, edge.port)
            writer.write(head(acme, len(EVENT)) + EVENT[:sent])
            writers.append(writer)
        await eventually(lambda: in_flight(edge), lambda held: held > 0)
        for writer in writers:
            writer.transport.abort()
        kafka.resume()
        await eventually(lambda: in_flight(edge), lambda held: held == 0)
        assert (await edge.post(acme.server_key, EVENT)).status_code == 202
        await eventually(lambda: in_flight(edge), lambda held: held == 0)


async def test_healthz_answers_whatever_is_down(broker: Kafka, run_edge: Run) -> None:
    settings = {"KAFKA__BOOTSTRAP": f"{HOST}:1", "REDIS__URL": f"redis://{HOST}:1/0"}
    async with run_edge(**settings) as edge:
        await eventually(edge.ready, lambda state: state[0] == 503)
        answer = await edge.client.get(f"{edge.ops}/healthz")
        assert (answer.status_code, answer.text) == (200, "ok\n")
