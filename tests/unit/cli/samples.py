"""Books that balance; each test spoils one thing."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from argus_cli.audit import Books, Recorded, Written
from argus_cli.ledger import Facts, Line

LINE = Line(
    namespace="shop",
    tenant="web",
    pipeline="main",
    topic="argus.shop.main.00000000",
    partition=0,
    first_offset=10,
    next_offset=100,
    log_end=100,
    stored=80,
    duplicate=7,
    dead_lettered=3,
    skipped=0,
    lost=0,
    expired=20,
)
FACTS = Facts(
    dead_letters={"invalid_event": 2, "too_old": 1},
    oldest_unread_at=None,
    last_event_at=datetime(2026, 11, 24, 11, 58, tzinfo=UTC),
    state="open",
    reason=None,
    balanced=True,
)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE_AGO = NOW - timedelta(minutes=5)
KEYS = tuple(f"{LINE.topic}/0/{offset}" for offset in (20, 30, 40))


def identity(key: str) -> UUID:
    """The id of the event whose record is at this key."""
    return UUID(int=KEYS.index(key))


def recorded(key: str, at: datetime = MINUTE_AGO) -> Recorded:
    return Recorded(key, "invalid_event", at, identity(key))


def written(*keys: str) -> dict[str, Written]:
    return {key: Written(MINUTE_AGO, identity(key)) for key in keys}


RECORDED = {key: recorded(key) for key in KEYS}
LETTERS = written(*KEYS)
BOOKS = Books(
    namespace="shop",
    tenant="web",
    pipeline="main",
    lines=(LINE,),
    rows=60,
    letters_expired=0,
    recorded=RECORDED,
    letters=LETTERS,
    letter_retention=timedelta(hours=1),
    now=NOW,
)
