"""What leadership relies on of a Lease: held by the unit tests' fake and a real API server."""

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from argus_operator.adapters.kubernetes import Kubernetes
from argus_operator.adapters.leases import Leases
from argus_operator.errors import BusyError
from argus_operator.lease import LeaseStore

from tests.integration.operator.apiserver import OPERATOR, RELEASE, ApiServer
from tests.integration.operator.contracts import BOTH
from tests.unit.operator.fakes import FakeLease

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1_800),  # the first may have to build an API server
]


@pytest_asyncio.fixture(loop_scope="session")
async def store(
    kind: str, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LeaseStore]:
    """A lease that there is not yet, under the rights that the chart gives."""
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(OPERATOR)))
    async with Kubernetes() as cluster:
        real = Leases(cluster, RELEASE, f"lease-{secrets.token_hex(4)}")
        yield FakeLease() if kind == "fake" else real


@BOTH
async def test_it_goes_from_nobody_to_one_to_another_and_back(store: LeaseStore) -> None:
    assert await store.get() is None
    first = await store.write(None, "a", 15)
    again = await store.write(first, "a", 15)
    second = await store.write(again, "b", 15)
    free = await store.write(second, "", 15)

    assert [record.holder for record in (first, again, second, free)] == ["a", "a", "b", ""]
    assert [record.transitions for record in (first, again, second, free)] == [0, 0, 1, 2]
    assert len({record.version for record in (first, again, second, free)}) == 4
    assert await store.get() == free


@BOTH
async def test_of_two_that_write_at_once_one_is_told(store: LeaseStore) -> None:
    first = await store.write(None, "a", 15)
    with pytest.raises(BusyError):
        await store.write(None, "b", 15)
    await store.write(first, "a", 15)
    with pytest.raises(BusyError):
        await store.write(first, "b", 15)

    held = await store.get()
    assert held is not None
    assert held.holder == "a"
