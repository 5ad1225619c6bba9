"""Limits that are only observed: nothing is refused, and what would have been is counted."""

from argus_contract.registry import Bucket, Limits

from tests.integration.ingest.conftest import Edge, Kafka, Run, Tenant, eventually, pipeline, tenant
from tests.integration.ingest.test_outages import AWAY, until_metric

SLOW = Bucket(0.001, 10)
EVENT = b'{"event":"signup"}'


async def limited(broker: Kafka, *, observe: bool) -> Tenant:
    limits = Limits(SLOW, Bucket(0.001, 3), monthly=12, observe=observe)
    return tenant(pipeline("main", await broker.create())).changed(limits=limits)


async def send(edge: Edge, who: Tenant) -> list[int]:
    """Twelve events with the server key and ten with the public one; the statuses."""
    keys = [who.server_key] * 12 + [who.public_key] * 10
    return [(await edge.post(key, EVENT)).status_code for key in keys]


async def counted(edge: Edge, metric: str, who: Tenant) -> dict[str, float]:
    """Requests by the bucket that refused them, or would have."""
    found = await edge.metrics()
    of_tenant = {
        bucket: found.get(
            f'argus_ingest_{metric}_total{{bucket="{bucket}",tenant="{who.document.display}"}}', 0
        )
        for bucket in ("key", "ip", "both", "day", "month", "concurrency")
    }
    return {bucket: count for bucket, count in of_tenant.items() if count}


async def test_what_is_counted_is_what_is_refused_where_the_same_limits_are_enforced(
    broker: Kafka, run_edge: Run
) -> None:
    acme, other = await limited(broker, observe=True), await limited(broker, observe=False)
    await broker.publish(acme, other)
    async with run_edge() as edge:
        await edge.until_ready()
        await until_metric(edge, AWAY, 0)
        assert await send(edge, acme) == [202] * 22
        # Ten tokens of the server key; then two events are left of the month.
        assert await send(edge, other) == [202] * 10 + [429] * 2 + [202] * 2 + [429] * 8
        assert await counted(edge, "would_limit", acme) == {"key": 2, "month": 8}
        assert await counted(edge, "limited", other) == {"key": 2, "month": 8}
        assert await counted(edge, "limited", acme) == {}
        assert await counted(edge, "would_limit", other) == {}
    assert len(await broker.records(acme.topic)) == 22
    assert len(await broker.records(other.topic)) == 12


async def test_an_answer_says_what_is_left_and_asks_nobody_to_wait(
    broker: Kafka, run_edge: Run
) -> None:
    acme = await limited(broker, observe=True)
    await broker.publish(acme)
    async with run_edge() as edge:
        await edge.until_ready()
        await until_metric(edge, AWAY, 0)
        answers = [await edge.post(acme.server_key, EVENT) for _ in range(11)]
        assert [answer.headers["ratelimit"] for answer in answers[-2:]] == ['"key";r=0'] * 2
        assert not any("retry-after" in answer.headers for answer in answers)
        # More events at once than the key's bucket ever holds.
        many = b"[" + b",".join([EVENT] * 11) + b"]"
        assert (await edge.post(acme.public_key, many)).status_code == 202


async def test_enforced_they_refuse_within_two_seconds(broker: Kafka, run_edge: Run) -> None:
    acme = await limited(broker, observe=True)
    await broker.publish(acme)
    async with run_edge() as edge:
        await edge.until_ready()
        await until_metric(edge, AWAY, 0)
        assert {*(await send(edge, acme))} == {202}
        limits = Limits(SLOW, SLOW)
        await broker.publish(acme.changed(limits=limits, revision=2))

        async def status() -> int:
            return (await edge.post(acme.server_key, EVENT)).status_code

        await eventually(status, lambda found: found == 429, 5)
