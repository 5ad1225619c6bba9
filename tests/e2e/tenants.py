"""A tenant of a test's own, in a namespace of its own, made and removed by kubectl."""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from argus_contract import names
from argus_contract.names import TenantId, TopicName

from tests.e2e.kubectl import CommandError, eventually, get, kubectl

TENANT = "shop"
PIPELINE = "web"
READY_S = 60


@dataclass(frozen=True, slots=True)
class Tenant:
    """A Ready tenant with one pipeline, by the names that `status` gives."""

    url: str
    namespace: str
    key: str = field(repr=False)
    id: TenantId
    schema: str
    table: str
    topic: TopicName

    @property
    def rows(self) -> str:
        """The hypertable, as SQL names it."""
        return f"{self.schema}.{self.table}"

    @property
    def rollup(self) -> str:
        """The rollup by the minute, as SQL names it."""
        return f"{self.schema}.{names.rollup_table(PIPELINE)}"

    @property
    def letters(self) -> str:
        """The dead-letter topic."""
        return names.dead_letter_topic(self.topic)

    def post(self, body: Any, *, address: str | None = None, **headers: str) -> httpx.Response:
        """Sends a body: bytes as they are, anything else as JSON."""
        return httpx.post(
            f"{self.url}/v1/events",
            content=body if isinstance(body, bytes) else json.dumps(body).encode(),
            headers=self.headers(address) | headers,
            timeout=15,
        )

    def headers(self, address: str | None = None) -> dict[str, str]:
        """What a request of this tenant carries; a new address unless one is given."""
        return {
            "authorization": f"Bearer {self.key}",
            "content-type": "application/json",
            "x-forwarded-for": address or new_address(),
        }


def new_address() -> str:
    """An address that nobody else uses (RFC 2544's range for benchmarks)."""
    return f"198.18.{secrets.randbelow(256)}.{secrets.randbelow(254) + 1}"


def page_view(**fields: Any) -> dict[str, Any]:
    """A valid event."""
    return {
        "event": "page_view",
        "distinct_id": "somebody",
        "properties": {"url": "https://shop.example/"},
        **fields,
    }


def manifests(namespace: str, pipeline: Mapping[str, Any] | None = None, **spec: Any) -> str:
    """A namespace, a tenant with this spec, and its default pipeline, small enough for many.

    `pipeline` adds to, or replaces, fields of the pipeline's spec.
    """
    metadata = {"namespace": namespace}
    documents = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {
            "apiVersion": "argus.dev/v1alpha1",
            "kind": "ArgusTenant",
            "metadata": metadata | {"name": TENANT},
            "spec": {"deletionPolicy": "Delete", **spec},
        },
        {
            "apiVersion": "argus.dev/v1alpha1",
            "kind": "ArgusPipeline",
            "metadata": metadata | {"name": PIPELINE},
            "spec": {
                "tenantRef": {"name": TENANT},
                "topic": {"partitions": 2, "retention": {"bytes": "64Mi"}},
                "deadLetter": {"retention": {"bytes": "16Mi"}},
                "deletionPolicy": "Delete",
                **(pipeline or {}),
            },
        },
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})


def new_namespace() -> str:
    """A name that no earlier run has used."""
    return f"e2e-{secrets.token_hex(4)}"


def apply(url: str, namespace: str, **spec: Any) -> Tenant:
    """Applies tenant and pipeline and waits until both are Ready."""
    kubectl("apply", "-f", "-", stdin=manifests(namespace, **spec))
    wait_ready(namespace)
    return existing(url, namespace)


def wait_ready(namespace: str, tenant: str = TENANT, pipeline: str = PIPELINE) -> None:
    """Waits until both resources are Ready; a failure shows their conditions."""
    wanted = (f"argustenant/{tenant}", f"arguspipeline/{pipeline}")
    try:
        kubectl(
            *("wait", "-n", namespace, "--for=condition=Ready", f"--timeout={READY_S}s", *wanted),
            timeout=READY_S + 10,
        )
    except CommandError as error:
        said = kubectl("describe", "-n", namespace, "argustenants,arguspipelines", check=False)
        raise AssertionError(f"{error}\n{said}") from error


def existing(url: str, namespace: str, tenant: str = TENANT, pipeline: str = PIPELINE) -> Tenant:
    """A tenant that is Ready, as its status describes it."""
    status = get("argustenant", tenant, "-n", namespace)["status"]
    piped = get("arguspipeline", pipeline, "-n", namespace)["status"]
    return Tenant(
        url=url,
        namespace=namespace,
        key=secret_key(namespace, status["secretName"]) or "",
        id=TenantId(status["id"]),
        schema=piped["schema"],
        table=piped["table"],
        topic=TopicName(piped["topic"]),
    )


def secret_key(namespace: str, secret: str) -> str | None:
    """The only key in this Secret, None while there is no such Secret."""
    found = kubectl("get", "secret", secret, "-n", namespace, "-o", "json", "--ignore-not-found")
    if not found:
        return None
    [value] = json.loads(found)["data"].values()
    return decoded(value)


def decoded(value: str) -> str:
    """The text of an entry of a Secret."""
    return base64.b64decode(value).decode()


def remove(namespace: str) -> None:
    """Deletes the namespace and all in it without waiting."""
    kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


def gone(namespaces: list[str], within: float) -> None:
    """Waits until none of these namespaces is left: no finalizer may hang."""

    def none_left() -> bool:
        there = {item["metadata"]["name"] for item in get("namespaces")["items"]}
        return there.isdisjoint(namespaces)

    eventually(none_left, within, f"namespaces {namespaces} are gone")
