"""Empty buckets, remembered."""

from collections.abc import Callable

import pytest
from argus_contract.keys import hash_key
from argus_contract.names import tenant_id
from argus_contract.registry import Bucket, Limits, TenantDocument
from argus_ingest.buckets import ADDRESS, DAY, KEY, MONTH, LocalBuckets, Verdict
from argus_ingest.denials import Denials
from argus_ingest.tenants import Access, Directory
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ingest.helpers import PUBLIC_KEY, SERVER_KEY, document

SECOND = 1_000_000
TIGHT = Limits(per_key=Bucket(1, 10), per_ip=Bucket(1, 10))
KEYS = (PUBLIC_KEY, SERVER_KEY)


def opened(*documents: TenantDocument) -> Directory:
    directory = Directory()
    directory.update({one.id: one for one in documents})
    return directory


def access(key: str, limits: Limits = TIGHT) -> Access:
    return opened(document(limits=limits)).accesses[hash_key(key)]


class Edge:
    """What judges a request: the buckets, with denials before them or without."""

    def __init__(self, share: float, denials: Denials | None) -> None:
        self.buckets = LocalBuckets(1_000, share)
        self.denials = denials
        self.asked = 0

    def admits(self, who: Access, address: str, cost: int, now: int) -> bool:
        if self.denials is not None and self.denials.find(who, address, now) is not None:
            return False
        self.asked += 1
        verdict = self.buckets.judge(who.check(address, cost), now)
        if verdict.refused and self.denials is not None:
            self.denials.note(who, address, verdict, now)
        return not verdict.refused


limits = st.builds(Bucket, st.sampled_from([0, 0.3, 1, 7, 50, 5_000]), st.integers(1, 100))
arrivals = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 137, 20_000, 900_000, 3 * SECOND]),
        st.sampled_from(KEYS),
        st.sampled_from(["a", "b"]),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=150,
)


@given(limits, limits, arrivals, st.sampled_from([1.0, 0.5, 1 / 3]))
def test_with_denials_the_very_same_requests_pass(
    per_key: Bucket,
    per_ip: Bucket,
    requests: list[tuple[int, str, str, int]],
    share: float,
) -> None:
    directory = opened(document(limits=Limits(per_key=per_key, per_ip=per_ip)))
    plain, guarded = Edge(share, None), Edge(share, Denials(1_000))
    now = 1_800_000_000 * SECOND
    for pause, key, address, cost in requests:
        now += pause
        who = directory.accesses[hash_key(key)]
        cost = min(cost, int(per_key.burst))
        assert guarded.admits(who, address, cost, now) == plain.admits(who, address, cost, now)


@given(
    st.sampled_from([0.5, 10, 1_000, 5_000]), st.integers(2, 400), st.sampled_from([10, 100, 977])
)
def test_of_a_flood_the_buckets_see_little_more_than_they_admit(
    rate: float, burst: int, pause: int
) -> None:
    per_key = Bucket(rate, burst)
    directory = opened(document(limits=Limits(per_key=per_key, per_ip=per_key)))
    edge, who = Edge(1.0, Denials(100)), directory.accesses[hash_key(SERVER_KEY)]
    moments = range(0, 4_000 * pause, pause)
    passed = sum(edge.admits(who, "a", 1, now) for now in moments)
    # At most one in vain a second, when what is remembered ends.
    assert edge.asked <= passed + 2 + moments[-1] // SECOND


@pytest.mark.parametrize("key", KEYS)
def test_a_flood_over_an_empty_bucket_asks_nobody(key: str) -> None:
    edge = Edge(1.0, Denials(100))
    who = access(key)
    passed = sum(edge.admits(who, "a", 1, n) for n in range(1_000))
    assert (passed, edge.asked) == (10, 11)


def test_what_is_remembered_counts_down_and_ends() -> None:
    denials, who = Denials(100), access(SERVER_KEY)
    denials.note(who, "a", Verdict(KEY, 300_000, 200_000, 0, 0), 5 * SECOND)
    found = denials.find(who, "b", 5 * SECOND + 50_000)
    assert found is not None
    assert (found.refused, found.wait, found.empty) == (KEY, 150_000, 150_000)
    assert found.address_left is None
    assert denials.find(who, "a", 5 * SECOND + 200_000) is None
    # That was the token; the next one comes a second later.
    found = denials.find(who, "a", 5 * SECOND + 200_001)
    assert found is not None
    assert found.wait == 999_999
    assert denials.find(who, "a", 6 * SECOND) is None
    assert len(denials) == 0


def test_a_bucket_with_a_token_left_is_not_empty() -> None:
    denials, who = Denials(100), access(SERVER_KEY)
    denials.note(who, "a", Verdict(KEY, 300_000, 0, 0, 3), 0)
    assert len(denials) == 0


def test_an_empty_bucket_of_an_address_is_no_others() -> None:
    denials = Denials(100)
    directory = opened(document(limits=TIGHT))
    public, server = (directory.accesses[hash_key(key)] for key in KEYS)
    denials.note(public, "a", Verdict(ADDRESS, 500_000, 500_000, 0, 7), 0)
    assert denials.find(public, "a", 1) == Verdict(ADDRESS, 499_999, 499_999, 0, 7)
    assert denials.find(public, "b", 1) is None
    assert denials.find(server, "a", 1) is None


HOUR = 3_600 * SECOND


@pytest.mark.parametrize("refused", [DAY, MONTH, DAY | MONTH])
def test_a_spent_quota_refuses_every_address_and_lets_nobody_through(refused: int) -> None:
    denials, who = Denials(100), access(PUBLIC_KEY)
    denials.note(who, "a", Verdict(refused, HOUR, HOUR, 0, 0), 0)
    for elapsed in range(1, SECOND, 100_000):
        left = HOUR - elapsed
        assert denials.find(who, "b", elapsed) == Verdict(refused, left, left, None, 0)
    assert denials.find(who, "b", SECOND) is None


def test_a_quota_with_events_left_is_not_spent() -> None:
    denials, who = Denials(100), access(SERVER_KEY)
    denials.note(who, "a", Verdict(DAY, HOUR, 0, 0, 3), 0)
    assert len(denials) == 0


def test_of_a_spent_day_in_a_month_with_events_left_only_the_day_refuses_the_next() -> None:
    denials, who = Denials(100), access(SERVER_KEY)
    denials.note(who, "a", Verdict(DAY | MONTH, 50 * HOUR, HOUR, 0, 3), 0)
    assert denials.find(who, "a", 1) == Verdict(DAY, HOUR - 1, HOUR - 1, None, 0)


def test_a_quota_that_starts_anew_within_the_second_ends_it() -> None:
    denials, who = Denials(100), access(SERVER_KEY)
    denials.note(who, "a", Verdict(DAY, 200_000, 200_000, 0, 0), 0)
    assert denials.find(who, "a", 199_999) is not None
    assert denials.find(who, "a", 200_000) is None


def test_the_buckets_are_asked_again_after_a_second_at_most() -> None:
    denials, who = Denials(100), access(SERVER_KEY)
    denials.note(who, "a", Verdict(KEY, 10**12, 10**12, 0, 0), 0)
    assert denials.find(who, "a", SECOND - 1) is not None
    assert denials.find(who, "a", SECOND) is None


def _raise_limit(directory: Directory, denials: Denials) -> None:
    raised = Limits(per_key=Bucket(100, 1_000), per_ip=Bucket(100, 1_000))
    directory.update({document().id: document(limits=raised)})


def _forget(directory: Directory, denials: Denials) -> None:
    denials.forget()


@pytest.mark.parametrize("change", [_raise_limit, _forget])
def test_another_limit_or_another_judge_ends_it_at_once(
    change: Callable[[Directory, Denials], None],
) -> None:
    directory, denials = opened(document(limits=TIGHT)), Denials(100)
    who = directory.accesses[hash_key(SERVER_KEY)]
    denials.note(who, "a", Verdict(KEY, SECOND, SECOND, 0, 0), 0)
    assert denials.find(who, "a", 1) is not None
    change(directory, denials)
    assert denials.find(directory.accesses[hash_key(SERVER_KEY)], "a", 2) is None


def test_another_tenants_change_leaves_it() -> None:
    mine = document(limits=TIGHT)
    other = document(id=tenant_id("ns", "other", "4567cdef"), keys=())
    directory, denials = opened(mine, other), Denials(100)
    who = directory.accesses[hash_key(SERVER_KEY)]
    denials.note(who, "a", Verdict(KEY, SECOND, SECOND, 0, 0), 0)
    directory.update({mine.id: mine, other.id: document(id=other.id, keys=(), revision=2)})
    assert denials.find(directory.accesses[hash_key(SERVER_KEY)], "a", 2) is not None


def test_it_is_bounded() -> None:
    denials, who = Denials(50), access(PUBLIC_KEY)
    for n in range(1_000):
        denials.note(who, str(n), Verdict(ADDRESS, SECOND, SECOND, 0, 7), 0)
        assert len(denials) <= 50
        assert denials.find(who, str(n), 1) is not None
