"""The buckets' arithmetic, against its invariants."""

from argus_contract.registry import Bucket
from argus_ingest.buckets import ADDRESS, KEY, NOBODY, UNIT, BucketStore, Check, LocalBuckets
from hypothesis import given
from hypothesis import strategies as st

SECOND = 1_000_000
limits = st.builds(Bucket, st.integers(1, 10_000), st.integers(1, 20_000))
steps = st.lists(
    st.tuples(st.integers(0, 2 * SECOND), st.integers(1, 50)), min_size=1, max_size=200
)


def check(cost: int, key: Bucket, address: Bucket | None = None) -> Check:
    return Check("t", None if address is None else "a", address or Bucket(1, 1), "k", key, cost)


@given(limits, steps)
def test_never_more_than_burst_plus_rate_times_time_passes(
    limit: Bucket, arrivals: list[tuple[int, int]]
) -> None:
    buckets = LocalBuckets(10, 1.0)
    now = first = 1_800_000_000 * SECOND
    passed = 0
    for pause, cost in arrivals:
        now += pause
        if cost <= limit.burst and not buckets.judge(check(cost, limit), now).refused:
            passed += cost
        assert passed * SECOND <= limit.burst * SECOND + limit.rate * (now - first)


@given(st.builds(Bucket, st.integers(1, 10_000), st.integers(1, 500)), st.integers(1, 200))
def test_a_refused_request_passes_after_the_wait_and_not_before(limit: Bucket, cost: int) -> None:
    cost = min(cost, int(limit.burst))
    buckets = LocalBuckets(10, 1.0)
    now = 1_800_000_000 * SECOND
    while not (verdict := buckets.judge(check(cost, limit), now)).refused:
        pass
    assert buckets.judge(check(cost, limit), now + verdict.wait - 1).refused == KEY
    assert buckets.judge(check(cost, limit), now + verdict.wait).refused == NOBODY


def test_one_refusal_spends_from_no_bucket() -> None:
    buckets = LocalBuckets(10, 1.0)
    key, address = Bucket(1, 10), Bucket(1, 1)
    assert buckets.judge(check(4, key, address), 0).refused == NOBODY
    refused = buckets.judge(check(4, key, address), 0)
    assert (refused.refused, refused.key_left, refused.address_left) == (ADDRESS, 6, 0)
    refused = buckets.judge(check(7, key, address), 0)
    assert refused.refused == ADDRESS | KEY
    refused = buckets.judge(check(7, key, address), 1 * SECOND)
    assert (refused.refused, refused.address_left) == (NOBODY, 0)


def test_a_clock_that_goes_back_refills_nothing() -> None:
    buckets = LocalBuckets(10, 1.0)
    limit = Bucket(1, 1)
    assert not buckets.judge(check(1, limit), 10 * SECOND).refused
    assert buckets.judge(check(1, limit), 2 * SECOND).refused
    assert not buckets.judge(check(1, limit), 11 * SECOND).refused


def test_a_share_of_a_burst_still_admits_the_largest_batch_and_then_pays_for_it() -> None:
    buckets = LocalBuckets(10, 1 / 4)
    limit = Bucket(100, 1_000)
    assert not buckets.judge(check(1_000, limit), 0).refused
    after = buckets.judge(check(1, limit), 0)
    assert after.refused == KEY
    # A quarter of the rate repays 1,000 tokens, less the quarter of a burst, in 30.04 s.
    assert after.wait == 30_040_000
    assert not buckets.judge(check(1, limit), after.wait).refused


def test_more_than_the_whole_burst_never_passes_and_spends_nothing() -> None:
    """Asked for only where limits are observed: elsewhere such a request is refused before."""
    buckets, limit = LocalBuckets(10, 1.0), Bucket(1, 10)
    refused = buckets.judge(check(11, limit), 0)
    assert (refused.refused, refused.wait, refused.key_left) == (KEY, 10**12, 10)
    assert not buckets.judge(check(10, limit), 0).refused


def test_a_bucket_without_rate_never_refills() -> None:
    buckets = LocalBuckets(10, 1.0)
    assert not buckets.judge(check(1, Bucket(0, 1)), 0).refused
    assert buckets.judge(check(1, Bucket(0, 1)), 10**15).wait == 10**12


@given(st.lists(st.integers(0, 500), max_size=2_000))
def test_the_store_is_bounded_and_keeps_what_is_used(names: list[int]) -> None:
    store = BucketStore(50)
    hot = store.get("hot")
    hot.owed = UNIT
    for name in names:
        store.get(str(name))
        assert store.get("hot") is hot
        assert len(store) <= 101
