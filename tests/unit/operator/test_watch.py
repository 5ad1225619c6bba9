"""Which watch events wake a family."""

from typing import Any

import kopf
import pytest
from argus_operator import watch
from argus_operator.models.common import FINALIZER
from argus_operator.resources import Family, family_of_pipeline, family_of_tenant
from prometheus_client import REGISTRY


def raw(**meta: Any) -> dict[str, Any]:
    base = {"name": "shop", "namespace": "n", "uid": "u", "generation": 1}
    return {"metadata": base | meta, "spec": {"tenantRef": {"name": "shop"}}}


def test_an_object_is_of_concern_when_first_seen() -> None:
    assert watch.Changes().concern(None, raw())


@pytest.mark.parametrize(
    "changed",
    [
        raw(generation=2),
        raw(deletionTimestamp="2026-01-01T00:00:00Z"),
        raw(annotations={"argus.dev/paused": "true"}),
        raw(annotations={"argus.dev/rotate": "web"}),
        raw(annotations={"argus.dev/revoke": "web.3f9a12bc"}),
        raw(annotations={"argus.dev/anything": ""}),
    ],
)
def test_a_change_that_matters_is_of_concern(changed: dict[str, Any]) -> None:
    changes = watch.Changes()
    changes.concern(None, raw())

    assert changes.concern("MODIFIED", changed)
    assert not changes.concern("MODIFIED", changed)


@pytest.mark.parametrize(
    "echo",
    [
        raw() | {"status": {"id": "x"}},
        raw(resourceVersion="2", finalizers=[FINALIZER]),
        raw(annotations={"kubectl.kubernetes.io/last-applied-configuration": "{}"}),
        raw(annotations={"created.argus.dev/web": "2026-01-01T00:00:00Z"}),
    ],
)
def test_the_echo_of_our_own_writes_is_not(echo: dict[str, Any]) -> None:
    changes = watch.Changes()
    changes.concern("ADDED", raw())

    assert not changes.concern("MODIFIED", echo)


def test_a_deletion_always_is_and_is_forgotten() -> None:
    changes = watch.Changes()
    changes.concern("ADDED", raw())

    assert changes.concern("DELETED", raw())
    assert changes.concern("ADDED", raw())


def test_both_kinds_lead_to_the_tenants_family() -> None:
    assert family_of_tenant(raw()) == family_of_pipeline(raw(name="web")) == Family("n", "shop")


def test_kopf_is_given_nothing_that_would_touch_objects() -> None:
    """kopf takes away a finalizer that it takes for its own and has no handler for."""
    wakes: watch.Wakes = {plural: lambda _: None for plural in ("argustenants", "argusreplays")}
    handlers = watch.registry(
        lambda: kopf.ConnectionInfo(server="https://x"), wakes, lambda *_: None
    )
    settings = watch.settings()

    assert settings.persistence.finalizer != FINALIZER
    assert not list(handlers._changing.get_all_handlers())
    assert not list(handlers._spawning.get_all_handlers())
    assert len(list(handlers._watching.get_all_handlers())) == 2


PATIENCE = 90.0


class Watched:
    """What the watch tells and lists show, at times of the test's own."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.sightings = watch.Sightings(PATIENCE, lambda: self.now)

    def tell(self, version: str, type_: str | None = "MODIFIED", uid: str = "u") -> None:
        self.sightings.note("argustenants", type_, raw(uid=uid, resourceVersion=version))

    def show(self, *versions: str, after: float = 30.0) -> str | None:
        self.now += after
        listed = [raw(uid="u", resourceVersion=version) for version in versions]
        self.sightings.compare("argustenants", listed)
        return self.sightings.stalled()


def test_a_watch_that_tells_what_lists_show_is_not_behind() -> None:
    watched = Watched()
    for version in map(str, range(10)):
        watched.tell(version)
        assert watched.show(version) is None
    assert behind() == 0


def behind() -> float | None:
    return REGISTRY.get_sample_value("argus_operator_watch_behind_seconds")


@pytest.mark.parametrize("told", [True, False])
def test_a_watch_that_says_nothing_is_found_out(told: bool) -> None:
    """Whether it fell silent, or never spoke of the kind at all."""
    watched = Watched()
    if told:
        watched.tell("1")
        assert watched.show("1") is None
    found = [watched.show("2") for _ in range(5)]

    assert found[:4] == [None] * 4
    assert found[4] == "the watch on argustenants is behind, for 120 s"
    assert behind() == 120


def test_an_object_that_moves_at_each_round_hides_no_silence() -> None:
    watched = Watched()
    found = [watched.show(str(version)) for version in range(5)]

    assert found[4] is not None


def test_a_watch_that_speaks_again_is_not_behind() -> None:
    watched = Watched()
    for _ in range(3):
        watched.show("1")
    watched.tell("1")

    assert [watched.show("1") for _ in range(5)] == [None] * 5


def test_a_list_that_is_older_than_the_watch_is_no_silence() -> None:
    watched = Watched()
    for version in range(10):
        watched.tell(str(version + 1))
        assert watched.show(str(version)) is None


@pytest.mark.parametrize("noticed", [True, False])
def test_what_is_listed_no_more_is_waited_for_no_more(noticed: bool) -> None:
    watched = Watched()
    watched.show("1")
    if noticed:
        watched.tell("1", "DELETED")

    assert [watched.show() for _ in range(5)] == [None] * 5


def test_a_server_that_gives_no_lists_says_nothing_about_the_watch() -> None:
    watched = Watched()
    watched.show("1")
    watched.now += 10 * PATIENCE

    assert watched.sightings.stalled() is None


def test_what_went_unnoticed_is_not_kept() -> None:
    watched = Watched()
    watched.tell("1")
    for _ in range(2):
        watched.show()

    assert watched.sightings._told == {"argustenants": {}}
