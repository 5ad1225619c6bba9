"""What the annotations of a tenant mean, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest
from argus_contract.keys import KeyKind, generate, hash_key
from argus_contract.registry import Key
from argus_operator import keys
from argus_operator.keys import SecretState
from argus_operator.models import units
from argus_operator.models.common import REVOKE, ROTATE
from argus_operator.reconcile import requests
from argus_operator.reconcile.requests import REFUSED, UNKNOWN, Binding

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
API, BEFORE, WEB = (generate(KeyKind.SERVER) for _ in range(3))
STALE = generate(KeyKind.SERVER)
BOTH = (ROTATE, REVOKE)


def id_of(clear: str, name: str = "api") -> str:
    return keys.key_id(name, hash_key(clear))


def bind(
    annotations: dict[str, str],
    until: datetime | None = None,
    registered: list[Key] | None = None,
    kinds: tuple[str, ...] = BOTH,
    wanted: tuple[str, ...] = ("api", "web"),
) -> Binding:
    """With `web`, and `api` in whose grace another key stands where `until` is given."""
    data, notes = {"api": API, "web": WEB}, {}
    if until is not None:
        data["api.previous"] = BEFORE
        notes["until.argus.dev/api.previous"] = units.instant(until)
    observed = SecretState("1", False, True, frozenset({"u"}), data, notes)
    found = requests.known(observed, registered or [], wanted)
    return requests.bind(annotations, found, NOW, kinds)


@pytest.mark.parametrize(
    ("asked", "bound"),
    [
        ("api", id_of(API)),
        (" api , api,", id_of(API)),
        ("api,web", ",".join(sorted([id_of(API), id_of(WEB, "web")]))),
    ],
)
def test_a_name_becomes_the_id_of_the_key_that_it_means(asked: str, bound: str) -> None:
    for annotation in BOTH:
        found = bind({annotation: asked})
        assert found.annotations == {annotation: bound}
        assert not found.refused


@pytest.mark.parametrize("annotation", BOTH)
def test_what_is_bound_stays_as_it_is(annotation: str) -> None:
    assert bind({annotation: id_of(API)}) == Binding({}, ())


@pytest.mark.parametrize("annotation", BOTH)
@pytest.mark.parametrize("nobody", ["nobody", "nobody.0123abcd", "api.0123abcd", "api.previous"])
def test_an_unknown_key_is_told_and_goes(annotation: str, nobody: str) -> None:
    found = bind({annotation: f"{nobody},web"})

    assert found.annotations == {annotation: id_of(WEB, "web")}
    ((reason, note),) = found.refused
    assert reason == UNKNOWN
    assert nobody in note
    assert "api, web" in note


@pytest.mark.parametrize("annotation", BOTH)
def test_a_key_that_was_written_in_clear_is_told_by_its_id(annotation: str) -> None:
    found = bind({annotation: f"{WEB},{STALE}"})

    assert found.annotations == {annotation: id_of(WEB, "web")}
    ((reason, note),) = found.refused
    assert reason == UNKNOWN
    assert STALE not in note
    assert hash_key(STALE)[:8] in note


@pytest.mark.parametrize("annotation", BOTH)
def test_an_annotation_that_asks_for_nothing_goes(annotation: str) -> None:
    assert bind({annotation: " , "}) == Binding({annotation: None}, ())


def test_a_rotation_that_would_cut_a_grace_short_is_refused_until_it_ends() -> None:
    until = NOW + timedelta(hours=1)
    for asked in ("api", id_of(API)):
        found = bind({ROTATE: asked}, until)
        ((reason, note),) = found.refused

        assert found.annotations == {ROTATE: None}
        assert reason == REFUSED
        assert units.instant(until) in note


@pytest.mark.parametrize("until", [NOW, NOW - timedelta(days=1)])
def test_after_the_grace_it_is_not(until: datetime) -> None:
    assert bind({ROTATE: "api"}, until) == Binding({ROTATE: id_of(API)}, ())


def test_nor_where_the_key_before_is_revoked_with_it() -> None:
    found = bind({ROTATE: "api", REVOKE: "api.previous"}, NOW + timedelta(hours=1))

    assert found == Binding({ROTATE: id_of(API), REVOKE: id_of(BEFORE)}, ())


def test_a_rotation_whose_key_is_in_its_grace_is_done() -> None:
    """As after a crash between the Secret and the registry."""
    assert bind({ROTATE: id_of(BEFORE)}, NOW + timedelta(hours=1)) == Binding({ROTATE: None}, ())


def test_a_key_that_is_to_be_made_yet_is_not_rotated() -> None:
    assert bind({ROTATE: "new"}, wanted=("api", "new")) == Binding({ROTATE: None}, ())


def test_a_name_is_revoked_with_the_key_before_and_with_what_pods_know() -> None:
    told = [Key(hash_key(STALE), "api", KeyKind.SERVER)]
    found = bind({REVOKE: "api"}, NOW + timedelta(hours=1), told)

    assert found.annotations == {
        REVOKE: ",".join(sorted([id_of(API), id_of(BEFORE), id_of(STALE)]))
    }


def test_a_key_that_only_pods_know_is_still_to_be_revoked() -> None:
    """As after a crash between the Secret and the registry."""
    told = [Key(hash_key(STALE), "api", KeyKind.SERVER)]

    assert bind({REVOKE: id_of(STALE)}, registered=told) == Binding({}, ())


def test_only_the_kinds_that_are_asked_for_are_bound() -> None:
    assert bind({ROTATE: "api", REVOKE: "web"}, kinds=(REVOKE,)).annotations == {
        REVOKE: id_of(WEB, "web")
    }


def test_no_key_in_clear_is_in_what_is_written_or_said() -> None:
    found = bind({ROTATE: "api,x", REVOKE: "web,y"}, NOW + timedelta(hours=1))

    assert not any(clear in str(found) for clear in (API, BEFORE, WEB))
