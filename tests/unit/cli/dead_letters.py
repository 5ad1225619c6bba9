"""Letters as the stream writes them, for the tests of all that reads them."""

from datetime import UTC, datetime

from argus_cli.letters import Key, Letter
from argus_contract import headers, splice
from argus_contract.ids import new_id
from argus_contract.names import TopicName
from argus_contract.registry import Pipeline
from argus_contract.rejects import Code, Step
from argus_contract.times import SECOND, from_micros

TOPIC = "argus.shop.web.0f3a9c21"
NOW = 1_800_000_000 * SECOND
DAY = 86_400
IDENTITY = "01920000-0000-7000-8000-000000000001"
PIPELINE = Pipeline(
    uid="0f3a9c21",
    name="web",
    topic=TopicName(TOPIC),
    dead_letter_topic=TopicName(f"{TOPIC}.dead"),
    partitions=2,
    schema="t_shop_acme_0f3a9c21",
    table="events_web",
    window=7 * DAY,
    dedupe_window=DAY,
    retention_bytes=1 << 30,
    retention_seconds=DAY,
)


def letter(
    value: bytes = b"{}",
    *,
    reason: str = Code.INVALID_EVENT,
    step: str = Step.INGEST,
    offset: int = 7,
    place: int = 0,
    at: datetime | None = None,
    **fields: bytes,
) -> Letter:
    """A letter; `fields` are further headers, `_` for `-` and without `argus-`."""
    written = {
        headers.REASON: reason.encode(),
        headers.STEP: step.encode(),
        headers.ATTEMPT: b"1",
        headers.ID: IDENTITY.encode(),
    }
    given = {f"argus-{name.replace('_', '-')}": value for name, value in fields.items()}
    return Letter(
        Key(TOPIC, 0, offset), place, at or from_micros(NOW).astimezone(UTC), written | given, value
    )


def wrapped(time: int, body: bytes = b'{"event":"click","distinct_id":"me"}') -> bytes:
    """An envelope as ingest writes it."""
    return splice.envelope(new_id(NOW), time, NOW, body)
