"""Exact beats prefix, longer beats shorter, the default takes the rest."""

from argus_contract.names import TopicName
from argus_contract.registry import Pipeline
from argus_contract.routing import Router
from hypothesis import given
from hypothesis import strategies as st


def pipeline(name: str, *match: str) -> Pipeline:
    return Pipeline(
        uid=name,
        name=name,
        topic=TopicName(name),
        dead_letter_topic=TopicName(f"{name}.dead"),
        partitions=1,
        schema="s",
        table="t",
        window=1,
        dedupe_window=1,
        retention_bytes=1,
        retention_seconds=1,
        match=match,
    )


def routed(router: Router, event: str) -> str | None:
    found = router.route(event)
    return None if found is None else found.name


def test_an_exact_name_beats_every_prefix() -> None:
    router = Router([pipeline("wide", "cart*"), pipeline("one", "cart_add")])
    assert routed(router, "cart_add") == "one"
    assert routed(router, "cart_drop") == "wide"


def test_a_longer_prefix_beats_a_shorter_one_in_either_order() -> None:
    short, long = pipeline("short", "a*"), pipeline("long", "ab*")
    for order in ([short, long], [long, short]):
        assert routed(Router(order), "abc") == "long"


def test_of_two_claims_and_two_defaults_the_first_wins() -> None:
    router = Router([pipeline("a", "x"), pipeline("b", "x"), pipeline("d1"), pipeline("d2")])
    assert routed(router, "x") == "a"
    assert routed(router, "y") == "d1"


@given(st.text(min_size=1, max_size=20))
def test_without_a_default_only_claimed_names_are_routed(event: str) -> None:
    router = Router([pipeline("p", "cart*", "buy")])
    taken = event.startswith("cart") or event == "buy"
    assert routed(router, event) == ("p" if taken else None)
