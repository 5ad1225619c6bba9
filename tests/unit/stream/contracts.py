"""What fakes and real adapters must do alike: the same tests run on both."""

import secrets
import time

import pytest
from argus_contract import redis_keys
from argus_contract.names import TenantId
from argus_stream.errors import FencedError, RefusedError, TableError
from argus_stream.ports import Change, Counters, LiveWindow, Store
from argus_stream.slices import Slice
from argus_stream.sources import Lease

from tests.unit.stream.samples import letter


class CountersContract:
    """Of `argus_stream.ports.Counters`; a subclass has a fixture `counters`."""

    @pytest.fixture
    def tenant(self) -> TenantId:
        return TenantId(f"ns.{secrets.token_hex(4)}.00000000")

    @staticmethod
    def change(tenant: TenantId, start: int, end: int, partition: int = 0) -> Change:
        second = int(time.time())
        key = redis_keys.live(tenant, "web", second)
        fence = redis_keys.fence(tenant, "topic", partition)
        return Change(fence, start, end, {key: {"e": end - start}}, {key: second + 3_600})

    @staticmethod
    def window(tenant: TenantId, **fences: int) -> LiveWindow:
        second = int(time.time())
        keys = {redis_keys.live(tenant, "web", second - n): second + 3_600 for n in range(30)}
        return LiveWindow(
            {redis_keys.fence(tenant, "topic", int(p[1:])): n for p, n in fences.items()},
            {redis_keys.live(tenant, "web", second - 9): {"w": 7, "é": 2**40}},
            keys,
        )

    async def test_nothing_is_applied_without_a_fence(
        self, counters: Counters, tenant: TenantId
    ) -> None:
        change = self.change(tenant, 0, 5)
        assert list(await counters.apply([change])) == [None]
        assert list(await counters.fences([change.fence])) == [None]

    async def test_a_change_at_the_fence_is_applied_once(
        self, counters: Counters, tenant: TenantId
    ) -> None:
        await counters.replace(self.window(tenant, p0=5))
        change = self.change(tenant, 5, 9)
        assert list(await counters.apply([change])) == [9]
        assert list(await counters.apply([change])) == [9]
        assert list(await counters.fences([change.fence])) == [9]

    async def test_a_change_before_or_beyond_the_fence_is_not_applied(
        self, counters: Counters, tenant: TenantId
    ) -> None:
        await counters.replace(self.window(tenant, p0=5))
        answers = await counters.apply([self.change(tenant, 0, 5), self.change(tenant, 6, 9)])
        assert list(answers) == [5, 5]

    async def test_changes_of_one_call_are_applied_in_their_order(
        self, counters: Counters, tenant: TenantId
    ) -> None:
        await counters.replace(self.window(tenant, p0=0, p1=0))
        changes = [
            self.change(tenant, 0, 3),
            self.change(tenant, 0, 4, partition=1),
            self.change(tenant, 3, 8),
        ]
        assert list(await counters.apply(changes)) == [3, 4, 8]

    async def test_a_window_may_throw_fences_back(
        self, counters: Counters, tenant: TenantId
    ) -> None:
        await counters.replace(self.window(tenant, p0=0, p1=7))
        await counters.apply([self.change(tenant, 0, 3)])
        await counters.replace(self.window(tenant, p0=0, p1=7))
        keys = [redis_keys.fence(tenant, "topic", partition) for partition in range(2)]
        assert list(await counters.fences(keys)) == [0, 7]

    async def test_a_change_without_events_moves_the_fence(
        self, counters: Counters, tenant: TenantId
    ) -> None:
        await counters.replace(self.window(tenant, p0=0))
        empty = self.change(tenant, 0, 3)._replace(counts={}, expiry={})
        assert list(await counters.apply([empty])) == [3]


class StoreContract:
    """Of `argus_stream.ports.Store`; a subclass has the fixtures that are used here."""

    @staticmethod
    def piece(lease: Lease, start: int, end: int) -> Slice:
        piece = Slice(lease, start, start)
        piece.skip_to(end)
        return piece

    async def test_a_slice_moves_the_partition_to_its_end(self, store: Store, lease: Lease) -> None:
        await store.store([self.piece(lease, 0, 4)])
        (outcome,) = await store.store([self.piece(lease, 4, 6)])
        assert (outcome.stored, outcome.duplicate, outcome.deltas) == (0, 0, "{}")

    async def test_a_slice_that_begins_elsewhere_is_fenced(
        self, store: Store, lease: Lease
    ) -> None:
        await store.store([self.piece(lease, 0, 4)])
        for start in (0, 3, 5):
            with pytest.raises(FencedError) as fenced:
                await store.store([self.piece(lease, start, 9)])
            assert fenced.value.source == lease.source
        await store.store([self.piece(lease, 4, 9)])

    async def test_one_fenced_slice_undoes_the_others(
        self, store: Store, lease: Lease, other: Lease
    ) -> None:
        with pytest.raises(FencedError):
            await store.store([self.piece(lease, 0, 4), self.piece(other, 1, 4)])
        await store.store([self.piece(lease, 0, 4), self.piece(other, 0, 4)])

    async def test_letters_and_repeats_are_counted(self, store: Store, lease: Lease) -> None:
        piece = Slice(lease, 0, 3, letters=[letter(0), letter(2)], repeats=[1])
        (outcome,) = await store.store([piece])
        assert (outcome.stored, outcome.duplicate) == (0, 1)

    async def test_terms_that_do_not_add_up_are_a_table_error(
        self, store: Store, lease: Lease
    ) -> None:
        with pytest.raises(TableError, match="AR002"):
            await store.store([Slice(lease, 0, 3, letters=[letter(0)])])
        await store.store([self.piece(lease, 0, 4)])

    async def test_refused_data_is_a_refusal_and_stores_nothing(
        self, store: Store, lease: Lease, refused: Slice
    ) -> None:
        with pytest.raises(RefusedError):
            await store.store([refused])
        await store.store([self.piece(lease, 0, 4)])

    async def test_a_rehearsal_that_passes_changes_nothing(
        self, store: Store, lease: Lease
    ) -> None:
        await store.rehearse(self.piece(lease, 0, 4))
        await store.rehearse(self.piece(lease, 0, 4))
        (outcome,) = await store.store([self.piece(lease, 0, 4)])
        assert (outcome.stored, outcome.duplicate) == (0, 0)

    async def test_a_rehearsal_fails_as_storing_would(
        self, store: Store, lease: Lease, refused: Slice
    ) -> None:
        with pytest.raises(RefusedError):
            await store.rehearse(refused)
        with pytest.raises(FencedError):
            await store.rehearse(self.piece(lease, 3, 4))
        await store.store([self.piece(lease, 0, 4)])
