"""What asyncpg raises is told apart by class, so that only data is ever blamed on data."""

import asyncpg
import pytest
from argus_stream.adapters.timescale import translated
from argus_stream.errors import UnavailableError


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("connection is closed"),
        # the server said goodbye (57P01) between two steps of a COPY
        asyncpg.InternalClientError("cannot switch to state 21; another operation is in progress"),
        ConnectionResetError("peer"),
        TimeoutError(),
    ],
)
def test_a_broken_connection_means_that_the_database_is_away(error: Exception) -> None:
    with pytest.raises(UnavailableError), translated():
        raise error
