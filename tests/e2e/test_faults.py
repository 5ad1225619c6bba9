"""Pods die under load. Nothing that was acknowledged is lost, and nothing is there twice."""

import asyncio
import uuid

from argus_cli.database import Database
from argus_cli.live import Live
from argus_cli.log import Log

from tests.e2e.books import failures, settled
from tests.e2e.conftest import Connection, MakeTenant
from tests.e2e.kubectl import NAMESPACE, kubectl, pods
from tests.e2e.load import Load
from tests.e2e.tenants import Tenant
from tests.e2e.test_events import counts_agree

LOAD_S = 12
BREAK_AT_S = 3


def kill(component: str, *, grace: int) -> None:
    """Deletes one pod; with a grace of 0 s it is killed, not asked."""
    name = pods(component)[0]["metadata"]["name"]
    force = ("--force",) if grace == 0 else ()
    kubectl(
        "delete", "pod", name, "-n", NAMESPACE, f"--grace-period={grace}", "--wait=false", *force
    )


def rolled_out(component: str) -> None:
    """Waits until the Deployment has all its pods again."""
    kubectl(
        *("rollout", "status", f"deployment/argus-{component}", "-n", NAMESPACE, "--timeout=90s"),
        timeout=100,
    )


async def broken(load: Load, *breaks: tuple[str, int]) -> None:
    """Load, with a pod deleted every few seconds; each is (component, grace in seconds)."""
    running = asyncio.create_task(load.run(LOAD_S))
    for component, grace in breaks:
        await asyncio.sleep(BREAK_AT_S)
        await asyncio.to_thread(kill, component, grace=grace)
    await running
    for component in {component for component, _ in breaks}:
        await asyncio.to_thread(rolled_out, component)


async def nothing_lost_or_doubled(
    load: Load, tenant: Tenant, database: Database, log: Log, reader: Connection, live: Live
) -> None:
    """Each acknowledged event is one row, and rows, rollups and live counters agree."""
    held = await settled(database, log, tenant)
    assert failures(held) == []
    assert not load.tally.unacknowledged, load.tally.unacknowledged
    stored = await reader.fetch(f"select id from {tenant.rows}")
    ids = [str(row["id"]) for row in stored]
    assert len(ids) == len(set(ids))
    assert load.tally.accepted_ids - set(ids) == set()
    assert all(uuid.UUID(one) for one in ids)
    await counts_agree(tenant, reader, live, {"page_view": len(ids)})


async def test_the_stream_dies_under_load(
    make_tenant: MakeTenant, database: Database, log: Log, reader: Connection, live: Live
) -> None:
    tenant = make_tenant()
    load = Load(tenant)

    await broken(load, ("stream", 0), ("stream", 30))

    await nothing_lost_or_doubled(load, tenant, database, log, reader, live)
    assert load.server_errors == {}
    assert load.tally.retried == 0, load.transport.attempts


async def test_an_ingest_pod_is_terminated_under_load(
    make_tenant: MakeTenant, database: Database, log: Log, reader: Connection, live: Live
) -> None:
    tenant = make_tenant()
    load = Load(tenant)

    await broken(load, ("ingest", 30))

    await nothing_lost_or_doubled(load, tenant, database, log, reader, live)
    assert load.server_errors == {}, load.transport.attempts
