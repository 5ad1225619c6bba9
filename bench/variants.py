"""What `make bench-storage` compares: today's storage, and the same with one thing changed. Pure.

A change is made where it belongs: to the table, after the product's own functions made it; to the
session; to the rows. Nothing else differs between a variant and what it is held against.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

AS_IS: Final = "as_is"
AGAIN: Final = "again"
"""The same as AS_IS: how far the two differ is what the machine alone does to a figure."""
DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)

_PLAIN: Final = (
    "CREATE TABLE {schema}.plain (LIKE {events} INCLUDING ALL)",
    "DROP TABLE {events}",
    "ALTER TABLE {schema}.plain RENAME TO {table}",
    "ALTER INDEX {schema}.plain_pkey RENAME TO {table}_pkey",
)
_KEY: Final = "SELECT argus.ensure_primary_key('{events}', ARRAY['id', 'time'])"
_RETYPED: Final = "ALTER TABLE {relation} ALTER COLUMN properties TYPE {type} USING NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A way to store rows.

    `tables` and `after` are statements in which {events}, {schema} and {table} stand for the
    hypertable's names: run once when it is made, and after each round, at the round's expense.
    """

    name: str
    title: str
    against: str = AS_IS
    """The variant that this one differs from in one thing."""
    chunk: timedelta = DAY
    tables: Sequence[str] = ()
    after: Sequence[str] = ()
    session: Mapping[str, str] = field(default_factory=dict)
    """PostgreSQL's settings."""
    properties: str = "jsonb"
    """Their type, in the hypertable and where rows are staged."""
    ordered: bool = True
    """Ids are UUIDv7; else UUIDv4."""
    timed: bool = True
    """Events say when they happened; else their id alone tells copies from others."""
    spread: timedelta = timedelta()
    """How late events may be."""
    batch: int = 2_000
    """Rows of a transaction."""
    checkpoint: bool = False
    """Each round begins right after a checkpoint: a page's first change is logged whole."""

    def retyping(self, relation: str) -> list[str]:
        """What gives the relation's properties their type."""
        changed = self.properties != "jsonb"
        return [_RETYPED.format(relation=relation, type=self.properties)] if changed else []


VARIANTS: Final = (
    Variant(name=AS_IS, title="as is"),
    Variant(name=AGAIN, title="as is, once more"),
    Variant(name="ids_v4", title="ids UUIDv4", ordered=False),
    Variant(name="key_v7", title="key (id, time)", tables=(_KEY,)),
    Variant(name="key_v4", title="key (id, time), ids UUIDv4", tables=(_KEY,), ordered=False),
    Variant(name="timeless_v7", title="events without a time", timed=False),
    Variant(
        name="timeless_v4",
        title="events without a time, ids UUIDv4",
        against="timeless_v7",
        timed=False,
        ordered=False,
    ),
    Variant(name="json", title="properties json", properties="json"),
    Variant(name="text", title="properties text", properties="text"),
    Variant(
        name="heap_90",
        title="fillfactor of the table 90",
        tables=("ALTER TABLE {events} SET (fillfactor = 90)",),
    ),
    Variant(
        name="time_index",
        title="with TimescaleDB's default index (time)",
        tables=("CREATE INDEX ON {events} (time DESC)",),
    ),
    Variant(name="plain", title="no hypertable (reference)", tables=_PLAIN),
    Variant(
        # a chunk's indexes do not inherit it, so it is asked where there are no chunks
        name="index_100",
        title="no hypertable, fillfactor of the index 100",
        against="plain",
        tables=(*_PLAIN, "ALTER INDEX {events}_pkey SET (fillfactor = 100)"),
    ),
    Variant(name="chunk_1h", title="chunks of 1 h", chunk=HOUR),
    Variant(name="late_1d", title="events up to a day late", spread=DAY),
    Variant(
        name="late_1h",
        title="events up to a day late, chunks of 1 h",
        against="late_1d",
        spread=DAY,
        chunk=HOUR,
    ),
    Variant(name="batch_500", title="batches of 500", batch=500),
    Variant(name="batch_5000", title="batches of 5,000", batch=5_000),
    Variant(name="vacuum", title="a VACUUM each round", after=("VACUUM {events}",)),
    Variant(name="analyze", title="an ANALYZE each round", after=("ANALYZE {events}",)),
    Variant(
        name="asynchronous",
        title="synchronous_commit off (reference)",
        session={"synchronous_commit": "off"},
    ),
    Variant(name="jit", title="jit on", session={"jit": "on"}),
    Variant(name="page_cost_4", title="random_page_cost 4", session={"random_page_cost": "4"}),
    Variant(name="checkpoint_lz4", title="after a checkpoint", checkpoint=True),
    Variant(
        name="checkpoint_pglz",
        title="after a checkpoint, wal_compression pglz",
        against="checkpoint_lz4",
        checkpoint=True,
        session={"wal_compression": "pglz"},
    ),
    Variant(
        name="checkpoint_off",
        title="after a checkpoint, wal_compression off",
        against="checkpoint_lz4",
        checkpoint=True,
        session={"wal_compression": "off"},
    ),
)


def phases(variants: Sequence[Variant] = VARIANTS) -> Iterator[Sequence[Variant]]:
    """Those that are measured in turns: a checkpoint would change what the others log."""
    for checkpoint in (False, True):
        yield [variant for variant in variants if variant.checkpoint is checkpoint]
