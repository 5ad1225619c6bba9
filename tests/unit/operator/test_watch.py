"""Which watch events wake a family."""

from typing import Any

import kopf
import pytest
from argus_operator import watch
from argus_operator.models.common import FINALIZER
from argus_operator.resources import Family, family_of_pipeline, family_of_tenant


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
    handlers = watch.registry(lambda: kopf.ConnectionInfo(server="https://x"), wakes)
    settings = watch.settings()

    assert settings.persistence.finalizer != FINALIZER
    assert not list(handlers._changing.get_all_handlers())
    assert not list(handlers._spawning.get_all_handlers())
    assert len(list(handlers._watching.get_all_handlers())) == 2
