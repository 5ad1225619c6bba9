"""What the Secret must hold, by what it holds, what people ask for, and what time it is."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from argus_contract.keys import KeyHash, KeyKind, generate, hash_key
from argus_contract.registry import Key
from argus_contract.times import to_micros
from argus_operator import keys
from argus_operator.errors import BusyError, RefusedError
from argus_operator.keys import (
    DROPPED,
    GENERATED,
    REGENERATED,
    REMOVED,
    RETIRED,
    REVOKED,
    ROTATED,
    KeyPlan,
    Orders,
    SecretState,
)
from argus_operator.models import units
from argus_operator.models.common import Meta
from argus_operator.models.tenant import ApiKey, KeyStatus, Rotation, TenantSpec
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
META = Meta(name="shop", namespace="n", uid="u-1", creation_timestamp=NOW)
SERVER, PUBLIC = ApiKey(name="api"), ApiKey(name="web", kind=KeyKind.PUBLIC)
OLD, OLDER = generate(KeyKind.SERVER), generate(KeyKind.SERVER)
BORN = NOW - 10 * DAY


def note(moment: datetime) -> str:
    return units.instant(moment)


def notes(
    created: datetime = BORN, before: datetime | None = None, until: datetime | None = None
) -> dict[str, str]:
    """The annotations of a Secret with the key `api`, and with the one before it."""
    found = {"created.argus.dev/api": note(created)}
    if before is not None:
        found["created.argus.dev/api.previous"] = note(before)
    if until is not None:
        found["until.argus.dev/api.previous"] = note(until)
    return found


def secret(
    data: Mapping[str, str],
    owners: tuple[str, ...] = ("u-1",),
    managed: bool = True,
    deleting: bool = False,
    noted: Mapping[str, str] | None = None,
) -> SecretState:
    told = notes() if noted is None else noted
    return SecretState("7", deleting, managed, frozenset(owners), data, told)


def in_grace(until: datetime = NOW + HOUR) -> SecretState:
    """A Secret whose key was rotated a while ago."""
    return secret({"api": OLD, "api.previous": OLDER}, noted=notes(BORN, BORN - DAY, until))


def registered(clear: str = OLD, name: str = "api", until: datetime | None = None) -> Key:
    end = None if until is None else to_micros(until)
    return Key(hash_key(clear), name, KeyKind.SERVER, until=end)


def id_of(clear: str, name: str = "api") -> str:
    return keys.key_id(name, hash_key(clear))


def plan(
    wanted: Sequence[ApiKey],
    observed: SecretState | None,
    told: Sequence[Key] = (),
    *,
    shown: Sequence[KeyStatus] = (),
    rotate: Sequence[str] = (),
    revoke: Sequence[str] = (),
    every: str | None = None,
    grace: str = "24h",
    now: datetime = NOW,
) -> KeyPlan:
    rotation = Rotation(every=every, grace_period=grace)
    spec = TenantSpec(api_keys=tuple(wanted), rotation=rotation)
    orders = Orders(frozenset(rotate), frozenset(revoke))
    return keys.plan(META, spec, observed, told, shown, orders, now)


def after(made: KeyPlan) -> SecretState:
    """The Secret once a plan is carried out."""
    return secret(made.data, noted=made.notes)


def reasons(made: KeyPlan) -> list[str]:
    return [deed.reason for deed in made.done]


class TestRepair:
    def test_without_a_secret_all_are_generated(self) -> None:
        made = plan([SERVER, PUBLIC], None)

        assert made.write
        assert [(deed.reason, deed.what) for deed in made.done] == [
            (GENERATED, "api"),
            (GENERATED, "web"),
        ]
        assert made.data["web"].startswith("argus_public_")
        assert set(made.notes.values()) == {"2026-02-03T04:05:06Z"}

    def test_what_is_as_wanted_is_not_written(self) -> None:
        made = plan([SERVER], secret({"api": OLD}))

        assert not made.write
        assert made.data == {"api": OLD}
        assert made.notes == notes()
        assert made.due(Rotation()) is None

    @pytest.mark.parametrize("broken", ["", "hunter2", generate(KeyKind.PUBLIC), OLD + "\n"])
    def test_what_is_no_key_of_this_kind_is_generated_anew(self, broken: str) -> None:
        made = plan([SERVER], secret({"api": broken}), [registered()])

        assert made.write
        assert reasons(made) == [REGENERATED]

    def test_a_key_that_was_never_registered_is_not_lost(self) -> None:
        assert reasons(plan([SERVER], secret({"api": ""}))) == [GENERATED]

    def test_what_is_not_wanted_is_removed(self) -> None:
        made = plan([SERVER], secret({"api": OLD, "extra": "x", "extra.previous": "y"}))

        assert made.write
        assert [deed.what for deed in made.done if deed.reason == REMOVED] == [
            "extra",
            "extra.previous",
        ]

    @pytest.mark.parametrize(
        "drifted", [secret({"api": OLD}, owners=()), secret({"api": OLD}, managed=False)]
    )
    def test_owner_and_label_are_repaired_without_a_new_key(self, drifted: SecretState) -> None:
        made = plan([SERVER], drifted)

        assert made.write
        assert made.data == {"api": OLD}

    def test_a_foreign_secret_is_refused(self) -> None:
        with pytest.raises(RefusedError, match="rename or delete"):
            plan([SERVER], secret({"password": "x"}, owners=(), managed=False))

    @pytest.mark.parametrize(
        "leaving", [secret({"api": OLD}, owners=("u-0",)), secret({"api": OLD}, deleting=True)]
    )
    def test_a_predecessors_secret_is_waited_for(self, leaving: SecretState) -> None:
        with pytest.raises(BusyError, match="earlier tenant"):
            plan([SERVER], leaving)


class TestNotes:
    @pytest.mark.parametrize(
        "garbled", [{}, {"created.argus.dev/api": "soon"}, {"created.argus.dev/api": "2026-02-01"}]
    )
    def test_when_a_key_was_made_is_known_from_the_status(self, garbled: dict[str, str]) -> None:
        shown = KeyStatus(
            name="api", kind="server", hash_prefix=hash_key(OLD)[:8], created=BORN - HOUR
        )
        made = plan([SERVER], secret({"api": OLD}, noted=garbled), shown=[shown])

        assert made.write
        assert made.notes == notes(BORN - HOUR)
        assert not made.done

    def test_when_an_unknown_key_was_made_is_now(self) -> None:
        shown = KeyStatus(name="api", kind="server", hash_prefix="0" * 8, created=BORN)

        assert plan([SERVER], secret({"api": OLD}, noted={}), shown=[shown]).notes == notes(NOW)

    def test_no_key_is_of_the_future(self) -> None:
        observed = secret({"api": OLD}, noted=notes(NOW + DAY))

        assert plan([SERVER], observed).notes == notes(NOW)

    @pytest.mark.parametrize("garbled", [None, "", "tomorrow", "0001-01-01T00:00:00+10:00"])
    def test_the_end_of_a_grace_is_known_from_the_registry(self, garbled: str | None) -> None:
        noted = notes(BORN, BORN - DAY)
        if garbled is not None:
            noted["until.argus.dev/api.previous"] = garbled
        observed = secret({"api": OLD, "api.previous": OLDER}, noted=noted)
        told = [registered(), registered(OLDER, until=NOW + 2 * HOUR)]
        made = plan([SERVER], observed, told)

        assert made.notes == notes(BORN, BORN - DAY, NOW + 2 * HOUR)
        assert not made.done

    def test_a_grace_that_nobody_knows_begins_now(self) -> None:
        observed = secret({"api": OLD, "api.previous": OLDER})
        made = plan([SERVER], observed, [registered()], grace="3h")

        assert made.notes == notes(BORN, NOW, NOW + 3 * HOUR)

    def test_foreign_notes_go(self) -> None:
        observed = secret({"api": OLD}, noted=notes() | {"until.argus.dev/api": "x"})

        assert plan([SERVER], observed).write


class TestRotation:
    def test_a_rotated_key_goes_on_beside_the_new_one(self) -> None:
        made = plan([SERVER, PUBLIC], secret({"api": OLD}), rotate=[id_of(OLD)], grace="2h")
        (api, _) = made.slots
        (told, before, _) = keys.register(made.slots)

        assert made.data["api.previous"] == OLD
        assert made.data["api"] != OLD
        assert made.notes["until.argus.dev/api.previous"] == note(NOW + 2 * HOUR)
        assert made.notes["created.argus.dev/api.previous"] == note(BORN)
        assert made.notes["created.argus.dev/api"] == note(NOW)
        assert (told.hash, told.until) == (api.current.hash, None)
        assert (before.hash, before.until) == (hash_key(OLD), to_micros(NOW + 2 * HOUR))
        assert [(deed.reason, deed.by) for deed in made.done] == [
            (ROTATED, "request"),
            (GENERATED, ""),
        ]

    def test_a_request_is_carried_out_once(self) -> None:
        first = plan([SERVER], secret({"api": OLD}), rotate=[id_of(OLD)])
        second = plan([SERVER], after(first), rotate=[id_of(OLD)])

        assert not second.write
        assert second.data == first.data

    def test_a_grace_is_not_cut_short(self) -> None:
        made = plan([SERVER], in_grace(), rotate=[id_of(OLD)], every="2d")

        assert made.data == {"api": OLD, "api.previous": OLDER}
        assert not made.write

    def test_a_shorter_grace_is_for_the_next_rotation(self) -> None:
        assert not plan([SERVER], in_grace(NOW + 20 * HOUR), grace="1h").write

    def test_after_its_grace_the_key_before_goes(self) -> None:
        made = plan([SERVER], in_grace(until=NOW))

        assert made.data == {"api": OLD}
        assert made.notes == notes()
        assert reasons(made) == [RETIRED]
        assert plan([SERVER], in_grace(until=NOW + timedelta(seconds=1))).data != {"api": OLD}

    @pytest.mark.parametrize(("age", "rotates"), [(2 * DAY, True), (2 * DAY - HOUR, False)])
    def test_a_key_is_replaced_at_its_age(self, age: timedelta, rotates: bool) -> None:
        made = plan([SERVER], secret({"api": OLD}, noted=notes(NOW - age)), every="2d")

        assert [deed.by for deed in made.done] == (["schedule"] if rotates else [])

    def test_what_comes_next_is_due(self) -> None:
        spec = Rotation(every="11d")

        assert plan([SERVER], in_grace()).due(Rotation()) == NOW + HOUR
        assert plan([SERVER], secret({"api": OLD}), every="11d").due(spec) == BORN + 11 * DAY
        assert plan([SERVER], in_grace(NOW + 5 * DAY), every="11d").due(spec) == NOW + 5 * DAY


class TestRevocation:
    def test_a_revoked_key_has_a_successor_and_no_grace(self) -> None:
        made = plan([SERVER], secret({"api": OLD}), revoke=[id_of(OLD)])

        assert made.data.keys() == {"api"}
        assert made.data["api"] != OLD
        assert [(deed.reason, deed.by) for deed in made.done] == [(REVOKED, "revocation")]

    def test_the_key_before_stays_unless_it_is_named(self) -> None:
        made = plan([SERVER], in_grace(), revoke=[id_of(OLD)])

        assert made.data["api.previous"] == OLDER
        assert made.data["api"] != OLD

    def test_the_key_before_may_be_revoked_alone(self) -> None:
        made = plan([SERVER], in_grace(), revoke=[id_of(OLDER)])

        assert made.data == {"api": OLD}
        assert reasons(made) == [REVOKED]

    def test_both_may_be_revoked(self) -> None:
        made = plan([SERVER], in_grace(), revoke=[id_of(OLD), id_of(OLDER)])

        assert made.data.keys() == {"api"}
        assert OLD not in made.data.values()

    def test_a_key_is_revoked_under_whatever_name_it_stands(self) -> None:
        twin = ApiKey(name="twin")
        made = plan([SERVER, twin], secret({"api": OLD, "twin": OLD}), revoke=[id_of(OLD)])

        assert OLD not in made.data.values()

    def test_what_is_revoked_is_not_rotated(self) -> None:
        made = plan([SERVER], secret({"api": OLD}), revoke=[id_of(OLD)], rotate=[id_of(OLD)])

        assert made.data.keys() == {"api"}


class TestByHand:
    @pytest.mark.parametrize("broken", ["", "hunter2", generate(KeyKind.PUBLIC)])
    def test_what_is_no_key_has_no_grace(self, broken: str) -> None:
        made = plan([SERVER], secret({"api": OLD, "api.previous": broken}))

        assert made.data == {"api": OLD}
        assert reasons(made) == [DROPPED]

    def test_a_key_under_two_names_ends_where_it_ends_last(self) -> None:
        data = {"api": OLD, "api.previous": OLD, "b.previous": OLDER, "c.previous": OLDER}
        noted = {f"until.argus.dev/{name}.previous": note(NOW + DAY) for name in ("api", "b")}
        noted["until.argus.dev/c.previous"] = note(NOW + 2 * DAY)
        wanted = [SERVER, ApiKey(name="b"), ApiKey(name="c")]
        told = keys.register(plan(wanted, secret(data, noted=noted)).slots)

        assert [key.until for key in told if key.hash == hash_key(OLD)] == [None]
        assert [key.until for key in told if key.hash == hash_key(OLDER)] == [
            to_micros(NOW + 2 * DAY)
        ]

    def test_a_key_that_was_taken_out_in_its_grace_is_told_of(self) -> None:
        observed = secret({"api": OLD}, noted=notes(BORN, BORN, NOW + HOUR))
        made = plan([SERVER], observed, [registered(), registered(OLDER, until=NOW + HOUR)])

        assert [(deed.reason, deed.what) for deed in made.done] == [(DROPPED, id_of(OLDER))]
        assert made.write

    def test_a_key_that_went_with_its_grace_is_not(self) -> None:
        told = [registered(), registered(OLDER, until=NOW)]

        assert not plan([SERVER], secret({"api": OLD}), told).done


def test_registered_keys_carry_hash_kind_and_expiry() -> None:
    expiring = ApiKey(name="api", expires_at=datetime(1970, 1, 2, tzinfo=UTC))
    current, before = keys.register(plan([expiring], in_grace()).slots)

    assert (current.hash, current.kind) == (hash_key(OLD), KeyKind.SERVER)
    assert current.expires == before.expires == 86_400_000_000


def test_the_status_shows_both_keys_and_what_comes() -> None:
    rotation = Rotation(every="20d")
    (shown,) = keys.describe(plan([SERVER], in_grace(), every="20d").slots, rotation)

    assert shown.model_dump(mode="json", by_alias=True, exclude_none=True) == {
        "id": id_of(OLD),
        "name": "api",
        "kind": "server",
        "hashPrefix": hash_key(OLD)[:8],
        "created": note(BORN),
        "rotatesAt": note(BORN + 20 * DAY),
        "previous": {
            "id": id_of(OLDER),
            "hashPrefix": hash_key(OLDER)[:8],
            "created": note(BORN - DAY),
            "validUntil": note(NOW + HOUR),
        },
    }


def test_secrets_never_show_in_representations() -> None:
    observed = in_grace()
    made = plan([SERVER], observed)

    for clear in (OLD, OLDER):
        assert clear not in repr(observed)
        assert clear not in repr(made)
        assert clear not in repr(made.slots)


# From any Secret, spec and clock

MOMENTS = st.integers(-60 * 24 * 40, 60 * 24 * 40).map(lambda m: NOW + timedelta(minutes=m))
STAMPS = st.one_of(MOMENTS.map(note), st.sampled_from(["", "soon", "2026-02-03", "9999-12-31"]))
POOL = [generate(KeyKind.SERVER) for _ in range(4)]
VALUES = st.sampled_from([*POOL, "", "hunter2", generate(KeyKind.PUBLIC)])
ENTRIES = ["api", "api.previous", "web", "web.previous", "gone"]
PREFIXES = ["created.argus.dev/", "until.argus.dev/"]
SECRETS = st.builds(
    lambda data, noted: secret(data, noted=noted),
    st.dictionaries(st.sampled_from(ENTRIES), VALUES),
    st.dictionaries(
        st.builds(str.__add__, st.sampled_from(PREFIXES), st.sampled_from(ENTRIES)), STAMPS
    ),
)
IDS = st.sets(st.builds(id_of, st.sampled_from(POOL), st.sampled_from(["api", "web"])))
SCHEDULES = st.sampled_from([(None, "1m"), ("2m", "1m"), ("7d", "24h"), ("90d", "30d")])
WORLDS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "observed": st.one_of(st.none(), SECRETS),
        "told": st.lists(
            st.builds(
                registered,
                st.sampled_from(POOL),
                st.sampled_from(["api", "web"]),
                st.one_of(st.none(), MOMENTS),
            ),
            max_size=4,
        ),
        "rotate": IDS,
        "revoke": IDS,
        "schedule": SCHEDULES,
        "now": MOMENTS,
    }
)
WANTED = [SERVER, ApiKey(name="web")]


def planned(world: Mapping[str, Any], **changes: Any) -> KeyPlan:
    given_ = dict(world) | changes
    every, grace = given_.pop("schedule")
    observed, told = given_.pop("observed"), given_.pop("told")
    return plan(WANTED, observed, told, every=every, grace=grace, **given_)


@given(WORLDS)
def test_applying_twice_is_applying_once(world: Mapping[str, Any]) -> None:
    first = planned(world)
    second = planned(world, observed=after(first), told=keys.register(first.slots))

    assert not second.write
    assert not second.done
    assert second.data == first.data


@given(WORLDS)
def test_a_crash_before_the_registry_repeats_nothing(world: Mapping[str, Any]) -> None:
    """Pods know nothing yet of what stands in the Secret, and the requests still stand."""
    first = planned(world)
    second = planned(world, observed=after(first))

    assert second.data == first.data


@given(WORLDS)
def test_whatever_the_secret_holds_every_key_has_one_afterwards(world: Mapping[str, Any]) -> None:
    made = planned(world)
    told = keys.register(made.slots)

    assert [slot.wanted.name for slot in made.slots] == ["api", "web"]
    assert all(keys.usable(slot.current.clear, KeyKind.SERVER) for slot in made.slots)
    assert all(key.until is None or key.until > to_micros(world["now"]) for key in told)
    assert {key.hash for key in told} == {hash_key(clear) for clear in made.data.values()}
    assert len({(key.hash, key.until) for key in told}) == len({key.hash for key in told})
    assert not {key.hash[:8] for key in told} & {id_.split(".")[1] for id_ in world["revoke"]}
    assert (made.due(Rotation()) or NOW + 1_000 * DAY) > world["now"]


@given(WORLDS)
def test_a_key_in_its_grace_leaves_by_its_end_or_by_revocation_only(
    world: Mapping[str, Any],
) -> None:
    observed: SecretState | None = world["observed"]
    made = planned(world)
    data = {} if observed is None else observed.data
    told = {} if observed is None else observed.notes
    revoked = {id_.split(".")[1] for id_ in world["revoke"]}
    for slot in made.slots:
        entry = f"{slot.wanted.name}.previous"
        clear, until = data.get(entry, ""), keys.instant(told.get(f"until.argus.dev/{entry}"))
        if not keys.usable(clear, KeyKind.SERVER) or until is None:
            continue
        if until > world["now"] and hash_key(clear)[:8] not in revoked:
            assert slot.previous is not None
            assert (slot.previous.clear, slot.previous.until) == (clear, until)


@given(WORLDS)
def test_a_key_that_is_replaced_is_kept_unless_it_is_revoked(world: Mapping[str, Any]) -> None:
    observed: SecretState | None = world["observed"]
    revoked = {id_.split(".")[1] for id_ in world["revoke"]}
    made = planned(world)
    held: Mapping[str, str] = {} if observed is None else observed.data
    for slot in made.slots:
        clear = held.get(slot.wanted.name, "")
        if keys.usable(clear, KeyKind.SERVER) and hash_key(clear)[:8] not in revoked:
            stays: set[KeyHash] = {slot.current.hash}
            if slot.previous is not None:
                stays.add(slot.previous.hash)
            assert hash_key(clear) in stays


def test_a_plan_is_a_value() -> None:
    made = plan([SERVER], in_grace())

    with pytest.raises(dataclasses.FrozenInstanceError):
        made.write = True  # type: ignore[misc]
