"""What chaos holds ARGUS to: each test spoils one thing, and exactly that promise is broken."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from argus_cli.audit import Books, Recorded, Written
from argus_cli.ledger import Line
from argus_contract.names import TenantId, TopicName
from argus_contract.rejects import Code

from tests.chaos.load import Flow
from tests.chaos.tenants import Tenant
from tests.chaos.traffic import Item, Request, digest, readable
from tests.chaos.verify import Found, judge, reasons
from tests.unit.cli.dead_letters import letter

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TOPIC = TopicName("argus.shop.web.00000000")
KEY = f"{TOPIC}/0/2"
FIRST, SECOND, BAD, GARBAGE, STRANGE = (bytes([number]) * 16 for number in range(1, 6))
SAID, SAID_UNTIMED, OTHER = (
    digest("click", "a", None, time, {"element": element})
    for time, element in ((NOW, "buy"), (None, "buy"), (NOW, "sell"))
)

TENANT = Tenant(
    url="http://127.0.0.1",
    namespace="shop",
    key="key",
    id=TenantId("shop.web.00000000"),
    schema="t",
    table="events_web",
    topic=TOPIC,
)


def request(*items: Item) -> Request:
    return Request(b"", "application/json", None, items, 202)


def flow() -> Flow:
    """Two events of which one was sent twice, one mistake sent twice, one body that is no JSON."""
    made = Flow(TENANT, 1.0)
    again = request(Item(FIRST, None, False, SAID), Item(BAD, Code.UNKNOWN_FIELD, True))
    for sent in (again, again, request(Item(SECOND, None, False, SAID_UNTIMED))):
        made.sending(sent)
        made.answered(sent)
    garbage = request(Item(GARBAGE, Code.INVALID_JSON, True))
    made.sending(garbage)
    made.answered(garbage)
    return made


def books(rows: int = 2) -> Books:
    at = NOW - timedelta(minutes=5)
    keys = {KEY: UUID(bytes=BAD), f"{TOPIC}/0/5": UUID(bytes=GARBAGE)}
    line = Line(
        *("shop", "shop", "web", TOPIC, 0),
        first_offset=0,
        next_offset=6,
        log_end=6,
        stored=2,
        duplicate=2,
        dead_lettered=2,
        skipped=0,
        lost=0,
        expired=0,
    )
    return Books(
        namespace="shop",
        tenant="shop",
        pipeline="web",
        lines=(line,),
        rows=rows,
        letters_expired=0,
        recorded={
            key: Recorded(key, "unknown_field", at, identity) for key, identity in keys.items()
        },
        letters={key: Written(at, identity) for key, identity in keys.items()},
        letter_retention=None,
        now=NOW,
    )


def found() -> Found:
    return Found(
        rows=[FIRST, SECOND],
        contents=dict.fromkeys((FIRST, SECOND), (SAID, SAID_UNTIMED)),
        letters={BAD: ["unknown_field"], GARBAGE: ["invalid_json"]},
        by_event={"click": 2},
        rolled={"click": 2},
        counted={"click": 2},
        by_reason={"unknown_field": 1, "invalid_json": 1},
        held=books(),
    )


def broken(sent: Flow, kept: Found) -> set[str]:
    return {what for what, problem in judge(sent, kept).items() if problem}


def test_what_was_kept_is_said_to_be_kept() -> None:
    assert broken(flow(), found()) == set()


def lose(kept: Found) -> None:
    kept.rows = [FIRST]


def double(kept: Found) -> None:
    kept.rows = [FIRST, FIRST, SECOND]


def invent(kept: Found) -> None:
    kept.rows = [FIRST, SECOND, STRANGE]


def both(kept: Found) -> None:
    kept.rows = [FIRST, SECOND, BAD]


def change(kept: Found) -> None:
    kept.contents = {**kept.contents, FIRST: (OTHER, SAID_UNTIMED)}


def lose_letter(kept: Found) -> None:
    kept.letters = {GARBAGE: ["invalid_json"]}


def double_letter(kept: Found) -> None:
    kept.letters = {BAD: ["unknown_field"] * 2, GARBAGE: ["invalid_json"]}


def invent_letter(kept: Found) -> None:
    kept.letters = {**kept.letters, STRANGE: ["refused"]}


def other_reason(kept: Found) -> None:
    kept.letters = {**kept.letters, BAD: ["refused"]}


def rolled(kept: Found) -> None:
    kept.rolled = {"click": 3}


def counted(kept: Found) -> None:
    kept.counted = {"click": 1}


def unbalanced(kept: Found) -> None:
    kept.held = books(rows=1)


COUNTS = "the ledger counts letters by reason"


@pytest.mark.parametrize(
    ("spoil", "promises"),
    [
        (lose, {"every acknowledged event is stored"}),
        (double, {"no event is stored twice"}),
        (invent, {"nothing is stored that was not sent"}),
        (
            both,
            {
                "nothing is both stored and dead-lettered",
                "nothing is stored that was not sent",
            },
        ),
        (change, {"rows say what was sent"}),
        (lose_letter, {"every refused event is a dead letter", COUNTS}),
        (double_letter, {"no dead letter was written twice", COUNTS}),
        (invent_letter, {"nothing else is a dead letter", COUNTS}),
        (other_reason, {"dead letters say the right reason", COUNTS}),
        (rolled, {"rollups equal rows"}),
        (counted, {"live counters equal rows"}),
        (unbalanced, {"the books balance"}),
    ],
)
def test_what_was_not_kept_is_noticed(spoil: Callable[[Found], None], promises: set[str]) -> None:
    kept = found()

    spoil(kept)

    assert broken(flow(), kept) == promises


def test_a_letter_counts_once_for_each_key_and_not_for_that_of_a_copy() -> None:
    value = b'{"id":"%b"}' % readable(BAD).encode()
    written = [
        letter(value, reason="unknown_field", offset=offset, place=place)
        for place, offset in enumerate((2, 2, 3, 4))
    ]

    copies = {str(written[-1].key)}

    assert reasons(written, set()) == {BAD: ["unknown_field"] * 3}
    assert reasons(written, copies) == {BAD: ["unknown_field"] * 2}


def test_an_event_that_nobody_acknowledged_is_noticed() -> None:
    sent = flow()
    sent.sending(request(Item(STRANGE, None, False)))

    assert broken(sent, found()) == {"everything was acknowledged in the end"}


def test_an_answer_that_nobody_should_get_is_noticed() -> None:
    sent = flow()
    sent.wrong.append("401")

    assert broken(sent, found()) == {"answers are right"}


def test_an_acknowledged_record_that_is_not_in_the_log_is_noticed() -> None:
    sent = flow()
    sent.answered(request(Item(FIRST, None, False)))

    assert broken(sent, found()) == {
        "the log has all that was promised",
        "resends are duplicates",
    }
