"""The books of one tenant: those of the console, held to be balanced or not."""

from argus_cli import books
from argus_cli.audit import Books
from argus_cli.database import Database
from argus_cli.ledger import Verdict, judge
from argus_cli.log import Log
from argus_cli.settings import Settings

from tests.e2e.tenants import TENANT, Tenant

SETTLED_S = 60


def database_url(settings: Settings) -> str:
    """Where the books are in SQL, as `make env` says it."""
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


async def settled(database: Database, log: Log, tenant: Tenant) -> Books:
    """The tenant's books once its log is read to the end."""
    lines = await books.balanced(database, log, tenant.namespace, TENANT, SETTLED_S)
    assert judge(line.verdict for line in lines) is not Verdict.BEHIND, lines
    [gathered] = await books.gather(database, log, tenant.namespace, TENANT)
    return gathered


def failures(held: Books) -> list[str]:
    """What does not hold, in words."""
    return [
        f"{check.what}: expected {check.expected}, found {check.found} {check.note}".rstrip()
        for check in held.checks()
        if not check.holds
    ]
