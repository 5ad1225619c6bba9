"""The ledger notices what a hand removed: a row, a letter in Kafka, a record of one in SQL."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from argus_cli.database import Database
from argus_cli.ledger import Verdict
from argus_cli.log import Log
from argus_cli.settings import Settings
from argus_runtime import kafka

from tests.e2e.books import failures, settled
from tests.e2e.conftest import Connection, MakeTenant
from tests.e2e.kubectl import ROOT
from tests.e2e.tenants import TENANT, Tenant, page_view


async def audited(tenant: Tenant) -> tuple[int, str]:
    """Exit code and output of `argus ledger --audit` for this tenant."""
    argus = shutil.which("argus", path=str(Path(sys.executable).parent)) or "argus"
    process = await asyncio.create_subprocess_exec(
        *(argus, "ledger", "--audit", "--tenant", f"{tenant.namespace}/{TENANT}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env=dict(os.environ),
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def filled(make_tenant: MakeTenant, database: Database, log: Log) -> Tenant:
    """A tenant with ten rows and two letters, and books that balance."""
    tenant = make_tenant()
    malformed = {"event": "page_view", "properties": {}}
    answer = tenant.post([*(page_view() for _ in range(10)), malformed, malformed])
    assert (answer.status_code, answer.json()["accepted"]) == (202, 10), answer.text
    held = await settled(database, log, tenant)
    assert failures(held) == []
    assert held.verdict is Verdict.BALANCED
    return tenant


async def test_books_that_balance_are_said_to_balance(
    make_tenant: MakeTenant, database: Database, log: Log
) -> None:
    tenant = await filled(make_tenant, database, log)

    code, output = await audited(tenant)

    assert "The ledger is balanced" in output
    assert code == 0


async def test_a_row_removed_by_hand_is_noticed(
    make_tenant: MakeTenant, database: Database, log: Log, superuser: Connection
) -> None:
    tenant = await filled(make_tenant, database, log)

    await superuser.execute(
        f"delete from {tenant.rows} where id = (select id from {tenant.rows} limit 1)"
    )

    await noticed(tenant, database, log, "rows in the table = stored - expired")


async def test_a_letter_removed_from_its_topic_by_hand_is_noticed(
    make_tenant: MakeTenant, database: Database, log: Log, settings: Settings
) -> None:
    tenant = await filled(make_tenant, database, log)
    admin = AIOKafkaAdminClient(**kafka.options(settings.require_kafka(), "argus-e2e"))
    await admin.start()

    await admin.delete_records({TopicPartition(tenant.letters, 0): RecordsToDelete(1)})
    await admin.close()

    await noticed(tenant, database, log, "letters in the topic = recorded, within retention")


async def test_a_record_of_a_letter_removed_by_hand_is_noticed(
    make_tenant: MakeTenant, database: Database, log: Log, superuser: Connection
) -> None:
    tenant = await filled(make_tenant, database, log)

    await superuser.execute(
        "delete from argus.dead_letters where ctid ="
        " (select ctid from argus.dead_letters where topic = $1 limit 1)",
        tenant.topic,
    )

    await noticed(tenant, database, log, "dead letters recorded = dead-lettered - expired")


async def noticed(tenant: Tenant, database: Database, log: Log, what: str) -> None:
    """The books and the console both say what is unbalanced."""
    held = await settled(database, log, tenant)
    code, output = await audited(tenant)

    assert any(failure.startswith(what) for failure in failures(held)), failures(held)
    assert held.verdict is Verdict.UNBALANCED
    assert what in output
    assert "The ledger is UNBALANCED" in output
    assert code == 1
