"""What PostgreSQL says when it does not store, and whose fault the stream takes it for."""

from collections.abc import AsyncIterator

import pytest
from argus_stream import copyrows
from argus_stream.adapters.timescale import TimescaleStore
from argus_stream.errors import RefusedError, StoreError, TableError, UnavailableError
from argus_stream.service import storing_options
from argus_stream.slices import Slice
from argus_stream.sources import Lease, Route, Source

from tests.integration.stream.world import World, micros
from tests.unit.stream.samples import record

TRANSIENT = {
    "08006": "connection failure",
    "25006": "read-only transaction, after a failover",
    "40001": "serialization failure",
    "40P01": "deadlock",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "57P01": "shutdown",
    "57P03": "cannot connect now",
    "58030": "I/O error",
}
TABLE = {
    "42501": "no rights",
    "42703": "no such column",
    "42P01": "no such table",
    "54001": "stack too deep",
    "55P03": "lock not available",
    "57014": "statement timeout",
    "P0001": "somebody's trigger",
    "XX000": "internal error",
    "XX001": "data corrupted",
}
DATA = {
    "22003": "number out of range",
    "22008": "time out of range",
    "22P02": "no such text",
    "22P05": "untranslatable character",
    "23502": "not null",
    "23505": "unique",
    "23514": "check",
}
EXPECTED = [
    *((state, UnavailableError) for state in TRANSIENT),
    *((state, TableError) for state in TABLE),
    *((state, RefusedError) for state in DATA),
]


@pytest.fixture
async def store(world: World) -> AsyncIterator[TimescaleStore]:
    made = TimescaleStore(storing_options(world.settings()))
    yield made
    made.discard()


@pytest.mark.parametrize(("state", "expected"), EXPECTED)
async def test_only_what_the_data_is_to_blame_for_is_poison(
    world: World, store: TimescaleStore, state: str, expected: type[StoreError]
) -> None:
    """Raised by the table itself, with the code that PostgreSQL would give."""
    pipeline = await world.add_pipeline("web")
    await world.sql.execute("SELECT argus.open_partition($1, 0, 0)", pipeline.topic)
    await world.sql.execute(
        f"""
        CREATE FUNCTION {pipeline.schema}.fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION USING ERRCODE = '{state}', MESSAGE = 'on purpose'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON {pipeline.schema}.{pipeline.table}
        FOR EACH ROW EXECUTE FUNCTION {pipeline.schema}.fail()
        """
    )
    now = micros()
    row = copyrows.row(0, bytes(16), now, now, False, "e", None, None, None, None)
    lease = Lease(Source(pipeline.topic, 0), Route(world.document, pipeline), 0)
    with pytest.raises(expected, match="on purpose") as raised:
        await store.store([Slice(lease, 0, 1, [row], [record(0)])])
    assert type(raised.value) is expected
    await world.sql.execute(f"DROP TRIGGER fail ON {pipeline.schema}.{pipeline.table}")
    (outcome,) = await store.store([Slice(lease, 0, 1, [row], [record(0)])])
    assert outcome.stored == 1
