"""What the logic relies on of Kubernetes: held by the unit tests' fake and a real API server."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from argus_operator.adapters.kubernetes import Kubernetes
from argus_operator.errors import BusyError, UnavailableError
from argus_operator.event_limits import PER_MINUTE
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.ports import Cluster
from argus_operator.resources import Tenant

from tests.integration.operator.apiserver import ADMIN, MERGE, OPERATOR, ApiServer
from tests.integration.operator.contracts import BOTH
from tests.unit.operator.fakes import NAMESPACE, FakeCluster

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1_800),  # the first may have to build an API server
]


class Stage:
    """A cluster, and how a user acts on it."""

    def __init__(self, cluster: Cluster, api: ApiServer | None) -> None:
        self.cluster = cluster
        self.api = api
        self.namespace = NAMESPACE if api is None else f"t{secrets.token_hex(4)}"
        self.name = f"shop-{secrets.token_hex(3)}"

    @property
    def path(self) -> str:
        return f"apis/argus.dev/v1alpha1/namespaces/{self.namespace}/{TENANTS}"

    async def create(self) -> None:
        if self.api is None:
            assert isinstance(self.cluster, FakeCluster)
            self.cluster.apply(TENANTS, self.name, {})
            return
        body = {"metadata": {"name": self.namespace}}
        await self.api.call("POST", "api/v1/namespaces", body)
        tenant = {
            "apiVersion": "argus.dev/v1alpha1",
            "kind": "ArgusTenant",
            "metadata": {"name": self.name},
            "spec": {},
        }
        await self.api.call("POST", self.path, tenant)

    async def change(self) -> None:
        if self.api is None:
            assert isinstance(self.cluster, FakeCluster)
            self.cluster.apply(TENANTS, self.name, {"suspended": True})
            return
        body = {"spec": {"suspended": True}}
        await self.api.call("PATCH", f"{self.path}/{self.name}", body, MERGE)

    async def delete(self) -> None:
        if self.api is None:
            assert isinstance(self.cluster, FakeCluster)
            self.cluster.delete(TENANTS, self.name)
            return
        await self.api.call("DELETE", f"{self.path}/{self.name}")

    async def tenant(self) -> Tenant | None:
        raw = await self.cluster.get(TENANTS, self.namespace, self.name)
        return None if raw is None else Tenant.parse(raw)

    async def present(self) -> Tenant:
        found = await self.tenant()
        assert found is not None
        return found


class TestCluster:
    @pytest_asyncio.fixture(loop_scope="session")
    async def stage(
        self, kind: str, api: ApiServer, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[Stage]:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(OPERATOR)))
        async with Kubernetes() as real:
            made = Stage(FakeCluster(), None) if kind == "fake" else Stage(real, api)
            await made.create()
            yield made

    @BOTH
    async def test_defaults_are_filled_in(self, stage: Stage) -> None:
        found = await stage.present()

        assert found.spec is not None
        assert found.spec.api_keys[0].name == "default"
        assert found.meta.generation == 1

    @BOTH
    async def test_an_object_is_listed(self, stage: Stage) -> None:
        for namespace in (stage.namespace, None):
            listed = await stage.cluster.objects(TENANTS, namespace)
            assert stage.name in [raw["metadata"]["name"] for raw in listed]

    @BOTH
    async def test_what_is_absent_is_none(self, stage: Stage) -> None:
        assert await stage.cluster.get(TENANTS, stage.namespace, "nobody") is None
        assert await stage.cluster.get_secret(stage.namespace, "nothing") is None

    @BOTH
    async def test_status_is_merged_and_null_removes(self, stage: Stage) -> None:
        meta = (await stage.present()).meta
        await stage.cluster.patch_status(TENANTS, meta, {"id": "a", "role": "b"})
        await stage.cluster.patch_status(TENANTS, meta, {"id": None, "schema": "c"})
        found = await stage.present()

        assert found.status == {"role": "b", "schema": "c"}

    @BOTH
    async def test_a_member_of_a_status_is_merged_too(self, stage: Stage) -> None:
        meta = (await stage.present()).meta
        spent = {"limit": 5_000, "usedPercent": 5, "resetsAt": "2026-05-02T00:00:00Z"}
        quota = {"daily": spent, "monthly": spent}
        await stage.cluster.patch_status(TENANTS, meta, {"quota": quota})
        changed = {"daily": {"usedPercent": 10}, "monthly": None}
        await stage.cluster.patch_status(TENANTS, meta, {"quota": changed})
        found = await stage.present()

        assert found.status["quota"] == {"daily": spent | {"usedPercent": 10}}
        assert found.meta.generation == 1

    @BOTH
    async def test_the_status_of_what_is_gone_is_nobodys_concern(self, stage: Stage) -> None:
        meta = (await stage.present()).meta
        await stage.delete()
        await stage.cluster.patch_status(TENANTS, meta, {"id": "a"})
        await stage.cluster.set_finalizer(TENANTS, meta, present=False)

        assert await stage.tenant() is None

    @BOTH
    async def test_a_finalizer_holds_until_it_is_removed(self, stage: Stage) -> None:
        await stage.cluster.set_finalizer(TENANTS, (await stage.present()).meta, present=True)
        await stage.delete()
        held = await stage.present()
        assert held.meta.deleting
        assert held.meta.held

        await stage.cluster.set_finalizer(TENANTS, held.meta, present=False)
        assert await stage.tenant() is None

    @BOTH
    async def test_a_finalizer_is_not_set_on_what_has_changed(self, stage: Stage) -> None:
        stale = (await stage.present()).meta
        await stage.change()

        with pytest.raises(BusyError):
            await stage.cluster.set_finalizer(TENANTS, stale, present=True)

    @BOTH
    async def test_a_finalizer_is_not_set_on_what_has_vanished(self, stage: Stage) -> None:
        gone = (await stage.present()).meta
        await stage.delete()

        with pytest.raises(BusyError):
            await stage.cluster.set_finalizer(TENANTS, gone, present=True)

    @BOTH
    async def test_annotations_are_merged_and_null_removes(self, stage: Stage) -> None:
        meta = (await stage.present()).meta
        first = await stage.cluster.annotate(TENANTS, meta, {"argus.dev/a": "1", "x.y/b": "2"})
        second = await stage.cluster.annotate(TENANTS, first, {"argus.dev/a": None})
        found = await stage.present()

        assert first.annotations == {"argus.dev/a": "1", "x.y/b": "2"}
        assert second == found.meta
        assert found.meta.annotations == {"x.y/b": "2"}
        assert found.meta.generation == 1

    @BOTH
    async def test_what_has_changed_or_vanished_is_not_annotated(self, stage: Stage) -> None:
        stale = (await stage.present()).meta
        await stage.change()
        with pytest.raises(BusyError):
            await stage.cluster.annotate(TENANTS, stale, {"argus.dev/a": "1"})

        current = (await stage.present()).meta
        await stage.delete()
        with pytest.raises(BusyError):
            await stage.cluster.annotate(TENANTS, current, {"argus.dev/a": "1"})

    @BOTH
    async def test_a_secret_holds_just_what_was_written_last(self, stage: Stage) -> None:
        owner = (await stage.present()).raw
        stamp = "2026-01-01T00:00:00Z"
        when = {"created.argus.dev/a": stamp, "until.argus.dev/a": stamp}
        then = {"created.argus.dev/b": stamp}
        await stage.cluster.write_secret(owner, "keys", None, {"a": "1", "b": "2"}, when)
        first = await stage.cluster.get_secret(stage.namespace, "keys")
        assert first is not None
        assert first.notes == when
        await stage.cluster.write_secret(owner, "keys", first, {"b": "3"}, then)
        second = await stage.cluster.get_secret(stage.namespace, "keys")

        assert second is not None
        assert second.data == {"b": "3"}
        assert second.notes == then
        assert second.owner_uids == {owner["metadata"]["uid"]}
        assert second.managed

    @BOTH
    async def test_a_secret_is_not_written_over_anothers_change(self, stage: Stage) -> None:
        owner = (await stage.present()).raw
        await stage.cluster.write_secret(owner, "keys", None, {"a": "1"}, {})
        first = await stage.cluster.get_secret(stage.namespace, "keys")
        await stage.cluster.write_secret(owner, "keys", first, {"a": "2"}, {})

        for stale in (first, None):
            with pytest.raises(BusyError):
                await stage.cluster.write_secret(owner, "keys", stale, {"a": "3"}, {})


async def test_what_the_role_does_not_grant_is_refused_in_words(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(OPERATOR)))
    api.provoked.add("/api/v1/secrets")
    async with Kubernetes() as cluster:
        with pytest.raises(UnavailableError, match=r"403 .*cannot list"):
            await cluster.call("GET", "api/v1/secrets")


@pytest.mark.parametrize("terminating", [True, False])
async def test_an_event_that_cannot_be_posted_is_in_the_log_and_no_failure(
    api: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    terminating: bool,
) -> None:
    namespace = f"t{secrets.token_hex(4)}"
    await api.call("POST", "api/v1/namespaces", {"metadata": {"name": namespace}})
    if terminating:
        await api.call("DELETE", f"api/v1/namespaces/{namespace}")
    subject = {
        "apiVersion": "argus.dev/v1alpha1",
        "kind": "ArgusTenant",
        "metadata": {"name": "shop", "namespace": namespace, "uid": "u"},
    }
    user = OPERATOR if terminating else "stranger"
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(user)))
    with caplog.at_level("INFO", logger="argus_operator"):
        async with Kubernetes() as cluster:
            await cluster.post_event(subject, "Normal", "Retained", "kept everything")

    said = [(record.levelname, record.message) for record in caplog.records]
    assert ("INFO", "event") in said
    assert (("WARNING", "an event was not posted") in said) is not terminating


async def test_an_event_is_sent_once_and_what_differs_from_it_as_well(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    namespace = f"t{secrets.token_hex(4)}"
    await api.call("POST", "api/v1/namespaces", {"metadata": {"name": namespace}})
    subject = {
        "apiVersion": "argus.dev/v1alpha1",
        "kind": "ArgusTenant",
        "metadata": {"name": "shop", "namespace": namespace, "uid": "u"},
    }
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(OPERATOR)))
    notes = ["kept", "kept", *(f"note {number}" for number in range(20))]
    with caplog.at_level("INFO", logger="argus_operator"):
        async with Kubernetes() as cluster:
            for note in notes:
                await cluster.post_event(subject, "Normal", "Retained", note)

    listed = await api.call("GET", f"apis/events.k8s.io/v1/namespaces/{namespace}/events")
    sent = {item["note"] for item in listed["items"]}
    assert sent == {"kept", *(f"note {number}" for number in range(PER_MINUTE - 1))}
    assert len(listed["items"]) == PER_MINUTE
    assert len([record for record in caplog.records if record.message == "event"]) == len(notes)


async def test_a_kind_that_is_not_served_is_no_absence(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(ADMIN)))
    async with Kubernetes() as cluster:
        with pytest.raises(UnavailableError, match="404"):
            await cluster.get("argusnothings", "default", "shop")
        with pytest.raises(UnavailableError, match="404"):
            await cluster.objects("argusnothings")


async def test_an_api_server_that_is_away_is_unavailable_in_bounded_time(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = api.kubeconfig("nobody")
    config.write_text(config.read_text().replace(api.url, "https://127.0.0.1:1"))
    monkeypatch.setenv("KUBECONFIG", str(config))
    async with Kubernetes(timeout=2) as cluster:
        async with asyncio.timeout(5):
            with pytest.raises(UnavailableError, match="does not answer"):
                await cluster.objects(TENANTS)


async def test_credentials_are_read_again_when_they_have_expired(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig("expired")))
    async with Kubernetes() as cluster:
        monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig(OPERATOR)))

        assert isinstance(await cluster.objects(TENANTS), list)
