"""A tenant's keys from request to registry: rotated, revoked, retired, and never twice."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from argus_contract import keys as contract
from argus_contract.registry import Key
from argus_contract.times import to_micros
from argus_operator import keys
from argus_operator.errors import BusyError
from argus_operator.models import units
from argus_operator.models.common import Meta
from argus_operator.models.tenant import PLURAL as TENANTS

from tests.unit.operator.fakes import NAMESPACE, away
from tests.unit.operator.world import SECRET, SHOP, World

ROTATE, REVOKE, PAUSED = "argus.dev/rotate", "argus.dev/revoke", "argus.dev/paused"
HASH = contract.hash_key


class KilledError(Exception):
    """The process is gone, in the middle of a call."""


def annotate(world: World, **annotations: str) -> None:
    """What `kubectl annotate` does; without the domain."""
    found = world.cluster.stored[(TENANTS, NAMESPACE, SHOP)]
    held = found["metadata"].setdefault("annotations", {})
    held.update({f"argus.dev/{name}": value for name, value in annotations.items()})


def annotations(world: World) -> dict[str, str]:
    found = world.cluster.stored[(TENANTS, NAMESPACE, SHOP)]["metadata"]
    held: dict[str, str] = found.get("annotations", {})
    return held


def held(world: World) -> dict[str, str]:
    return dict(world.cluster.secrets[SECRET].data)


def told(world: World) -> dict[str, int | None]:
    """What pods know: by hash, when a key ends."""
    return {key.hash: key.until for key in world.document.keys}


def current(world: World) -> str:
    return held(world)["default"]


def shown(world: World) -> dict[str, Any]:
    (key,) = world.cluster.status(TENANTS, SHOP)["keys"]
    found: dict[str, Any] = key
    return found


class TestRotation:
    async def test_both_keys_are_known_until_the_grace_ends(self, running: World) -> None:
        old = current(running)
        annotate(running, rotate="default")
        await running.reconcile()
        began = running.now
        ends = began + timedelta(days=1)

        assert held(running)["default.previous"] == old
        assert told(running) == {HASH(current(running)): None, HASH(old): to_micros(ends)}
        assert annotations(running) == {}
        assert shown(running)["previous"]["validUntil"] == units.instant(ends)
        assert shown(running)["hashPrefix"] == HASH(current(running))[:8]
        assert "KeysRotated" in running.cluster.told(SHOP)
        assert running.ready() == ("True", "Accepting")

    async def test_it_is_looked_at_again_when_the_grace_ends(self, running: World) -> None:
        running.tenant({"rotation": {"gracePeriod": "5m"}})
        annotate(running, rotate="default")
        verdict = await running.reconcile()
        assert verdict.again_in == 300

        new = current(running)
        await running.reconcile(seconds=300)
        assert held(running) == {"default": new}
        assert told(running) == {HASH(new): None}
        assert running.cluster.told(SHOP)[-1] == "KeyRetired"
        assert "previous" not in shown(running)

    async def test_a_schedule_replaces_a_key_at_its_age(self, running: World) -> None:
        old = current(running)
        running.tenant({"rotation": {"every": "3h", "gracePeriod": "1h"}})
        await running.reconcile()
        assert current(running) == old
        at = shown(running)["rotatesAt"]

        await running.reconcile(seconds=3 * 3_600)
        assert held(running)["default.previous"] == old
        assert shown(running)["rotatesAt"] > at

    async def test_a_second_rotation_within_the_grace_is_refused(self, running: World) -> None:
        annotate(running, rotate="default")
        await running.settle()
        before = held(running)
        annotate(running, rotate="default")
        await running.settle()

        assert held(running) == before
        assert annotations(running) == {}
        assert "RotationRefused" in running.cluster.told(SHOP)

    async def test_an_unknown_key_is_told(self, running: World) -> None:
        before = held(running)
        annotate(running, rotate="nobody", revoke="default.00000000")
        await running.settle()

        assert held(running) == before
        assert annotations(running) == {}
        assert running.cluster.told(SHOP).count("UnknownKey") == 2

    async def test_a_request_at_birth_is_fulfilled_by_the_first_key(self, world: World) -> None:
        world.tenant(annotations={ROTATE: "default"})
        world.pipeline()
        with pytest.raises(BusyError):
            await world.reconcile()  # our own finalizer changed it meanwhile
        await world.settle()

        assert held(world).keys() == {"default"}
        assert annotations(world) == {}

    async def test_pods_know_the_new_key_before_anybody_can_read_it(
        self, running: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = running.cluster.write_secret

        async def checked(owner: Any, name: str, observed: Any, data: Any, notes: Any) -> None:
            assert {HASH(clear) for clear in data.values()} <= set(told(running))
            await write(owner, name, observed, data, notes)

        monkeypatch.setattr(running.cluster, "write_secret", checked)
        annotate(running, rotate="default")
        await running.settle()

        assert held(running).keys() == {"default", "default.previous"}

    async def test_no_key_is_replaced_while_pods_cannot_be_told(self, running: World) -> None:
        before = held(running)
        running.cluster.apply(TENANTS, SHOP, {"rotation": {"every": "2h", "gracePeriod": "1h"}})
        running.now += timedelta(hours=3)
        annotate(running, rotate="default")
        running.registry.error = away("KafkaUnavailable")
        assert (await running.reconcile()).retry
        assert held(running) == before

        running.registry.error = None
        await running.settle()
        assert held(running)["default.previous"] == before["default"]
        assert told(running).keys() == {HASH(clear) for clear in held(running).values()}

    async def test_keys_that_never_reached_the_secret_are_not_kept_known(
        self, running: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def unwritable(*_: Any) -> None:
            raise away("KubernetesUnavailable")

        annotate(running, rotate="default")
        with monkeypatch.context() as patch:
            patch.setattr(running.cluster, "write_secret", unwritable)
            for _ in range(5):
                await running.reconcile()
        assert len(told(running)) <= 2

    async def test_a_request_that_cannot_be_bound_holds_nothing_else_up(
        self, running: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def forbidden(*_: Any) -> None:
            raise away("KubernetesUnavailable")

        annotate(running, rotate="default")
        running.cluster.apply(TENANTS, SHOP, {"suspended": True})
        monkeypatch.setattr(running.cluster, "get_secret", forbidden)
        assert (await running.reconcile()).retry
        assert running.document.suspended

    async def test_what_changed_meanwhile_is_looked_at_anew(
        self, running: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before, get = current(running), running.cluster.get_secret

        async def changed(namespace: str, name: str) -> Any:
            annotate(running, rotate="")
            running.cluster.apply(TENANTS, SHOP, {"suspended": True})
            return await get(namespace, name)

        annotate(running, rotate="default")
        with monkeypatch.context() as patch:
            patch.setattr(running.cluster, "get_secret", changed)
            with pytest.raises(BusyError):
                await running.reconcile()
        assert current(running) == before

        await running.settle()
        assert current(running) == before
        assert annotations(running) == {}


class TestRevocation:
    async def test_a_revoked_key_is_gone_and_has_a_successor(self, running: World) -> None:
        leaked = current(running)
        annotate(running, revoke="default")
        await running.settle()

        assert held(running).keys() == {"default"}
        assert told(running) == {HASH(current(running)): None}
        assert current(running) != leaked
        assert annotations(running) == {}
        assert "KeyRevoked" in running.cluster.told(SHOP)

    async def test_a_secret_that_cannot_be_written_holds_it_up_no_more(
        self, running: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leaked = HASH(current(running))

        async def unwritable(*_: Any) -> None:
            raise away("KubernetesUnavailable")

        with monkeypatch.context() as patch:
            patch.setattr(running.cluster, "write_secret", unwritable)
            annotate(running, revoke="default")
            seen: list[set[str]] = []
            publish = running.registry.publish

            async def recorded(document: Any) -> bool:
                seen.append({key.hash for key in document.keys})
                return await publish(document)

            patch.setattr(running.registry, "publish", recorded)
            await running.reconcile()
        assert seen
        assert not any(leaked in hashes for hashes in seen)

        await running.settle()
        assert leaked not in told(running)

    @pytest.mark.parametrize("adapter", ["kafka", "database"])
    async def test_it_waits_for_neither_topics_nor_tables(
        self, running: World, adapter: str
    ) -> None:
        leaked = HASH(current(running))
        getattr(running, adapter).error = away("Away")
        annotate(running, revoke="default")
        await running.reconcile()

        assert leaked not in told(running)

    async def test_it_waits_for_no_pause(self, running: World) -> None:
        leaked, before = HASH(current(running)), running.document
        running.tenant({"suspended": True})
        annotate(running, paused="true", revoke="default", rotate="default")
        await running.settle()
        (key,) = running.document.keys

        assert key == Key(HASH(current(running)), "default", contract.KeyKind.SERVER)
        assert key.hash != leaked
        assert running.document.pipelines == before.pipelines
        assert not running.document.suspended
        assert annotations(running) == {PAUSED: "true", ROTATE: "default"}

    async def test_a_rotation_waits_for_the_end_of_the_pause(self, running: World) -> None:
        before = held(running)
        annotate(running, paused="true", rotate="default")
        await running.settle()
        assert held(running) == before

        annotate(running, paused="false")
        await running.settle()
        assert held(running)["default.previous"] == before["default"]

    async def test_it_waits_for_no_spec_that_is_understood(self, running: World) -> None:
        leaked = HASH(current(running))
        running.cluster.stored[(TENANTS, NAMESPACE, SHOP)]["spec"]["novelty"] = 1
        annotate(running, revoke="default")
        await running.settle()

        assert leaked not in told(running)

    async def test_under_a_pause_it_is_tried_again_when_kafka_is_away(self, running: World) -> None:
        leaked = HASH(current(running))
        annotate(running, paused="true", revoke="default")
        running.registry.error = away("KafkaUnavailable")
        assert (await running.reconcile()).retry

        running.registry.error = None
        await running.settle()
        assert leaked not in told(running)


class TestCrash:
    """The process ends at the worst moments; the next one repeats nothing."""

    @pytest.mark.parametrize(
        ("request_", "paused"), [("rotate", "false"), ("revoke", "false"), ("revoke", "true")]
    )
    async def test_between_secret_and_registry(
        self, running: World, monkeypatch: pytest.MonkeyPatch, request_: str, paused: str
    ) -> None:
        old = current(running)
        annotate(running, paused=paused, **{request_: "default"})
        registry = dict(running.registry.held)
        write = running.cluster.write_secret

        async def killed(*values: Any) -> None:
            await write(*values)
            raise KilledError

        with monkeypatch.context() as patch:
            patch.setattr(running.cluster, "write_secret", killed)
            with pytest.raises(KilledError):
                await running.reconcile()
        running.registry.held.update(registry)  # as if not even the foretelling had come through
        after = held(running)
        assert current(running) != old
        await running.settle()

        assert held(running) == after
        if request_ == "revoke":
            assert HASH(old) not in told(running)
            assert REVOKE not in annotations(running)

    async def test_between_registry_and_annotation(
        self, running: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        annotate(running, rotate="default")
        calls: list[Any] = []
        write = running.cluster.annotate

        async def killed(plural: str, meta: Meta, changes: Any) -> Meta:
            calls.append(changes)
            if len(calls) == 2:
                raise KilledError
            return await write(plural, meta, changes)

        with monkeypatch.context() as patch:
            patch.setattr(running.cluster, "annotate", killed)
            with pytest.raises(KilledError):
                await running.reconcile()
        after, known = held(running), told(running)
        assert annotations(running)[ROTATE] == keys.key_id(
            "default", HASH(after["default.previous"])
        )

        await running.settle()
        assert (held(running), told(running)) == (after, known)
        assert annotations(running) == {}


class TestByHand:
    async def test_notes_that_were_deleted_are_repaired(self, running: World) -> None:
        annotate(running, rotate="default")
        await running.settle()
        before, known = running.cluster.secrets[SECRET], told(running)
        running.cluster.secrets[SECRET] = dataclasses.replace(before, notes={})
        await running.settle()

        assert running.cluster.secrets[SECRET].notes == before.notes
        assert told(running) == known

    async def test_a_key_in_its_grace_that_is_taken_out_is_refused_and_told(
        self, running: World
    ) -> None:
        annotate(running, rotate="default")
        await running.settle()
        before = running.cluster.secrets[SECRET]
        data = {"default": before.data["default"]}
        running.cluster.secrets[SECRET] = dataclasses.replace(before, data=data)
        await running.settle()

        assert told(running) == {HASH(data["default"]): None}
        assert "KeyDropped" in running.cluster.told(SHOP)


async def test_a_second_look_at_a_rotated_key_changes_nothing(running: World) -> None:
    annotate(running, rotate="default")
    await running.settle()
    writes, published = running.cluster.status_writes, len(running.registry.writes)
    secret = running.cluster.secrets[SECRET]
    await running.settle()

    assert running.cluster.status_writes == writes
    assert len(running.registry.writes) == published
    assert running.cluster.secrets[SECRET] is secret


async def test_no_event_and_no_annotation_has_a_key_in_clear(running: World) -> None:
    seen = set(held(running).values())
    for request_ in ("rotate", "revoke"):
        annotate(running, **{request_: "default"})
        await running.settle()
        seen |= set(held(running).values())
    said = str(running.cluster.events) + str(running.cluster.stored)

    assert len(seen) == 3
    assert not any(key in said for key in seen)
    assert not any(key in str(running.cluster.secrets[SECRET].notes) for key in seen)
