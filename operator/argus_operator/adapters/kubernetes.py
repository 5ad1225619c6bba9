"""The Kubernetes API: resources read and their status, finalizers and Secrets written.

A small client over kopf's credentials and HTTP library rather than a second one of each
(docs/adr/0006). Reads always ask the API server: nothing is decided from a watch's memory.
"""

import asyncio
import base64
import json as json_module
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Self

import aiohttp
import kopf

from argus_operator import metrics
from argus_operator.errors import BusyError, UnavailableError
from argus_operator.event_limits import EventLimits
from argus_operator.keys import NOTES, SecretState
from argus_operator.models.common import FINALIZER, GROUP, VERSION, Meta, Raw

logger = logging.getLogger(__name__)

Connect = Callable[[], kopf.ConnectionInfo]

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "argus-operator"
MERGE: Final = "application/merge-patch+json"
_PAGE: Final = 500
_TERMINATING: Final = "NamespaceTerminating"
"""Kubernetes' own name for why nothing can be created any more."""


def connect() -> kopf.ConnectionInfo:
    """Credentials of the pod's service account, else of the kubeconfig.

    Raises kopf.LoginError where there are none.
    """
    settings = kopf.OperatorSettings()
    found = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(
        settings=settings
    )
    if found is None:
        raise kopf.LoginError("neither a service account nor a kubeconfig was found")
    return found


class Kubernetes:
    """What the operator asks of the API server; opened and closed as a context manager."""

    def __init__(self, connect: Connect = connect, timeout: float = 10.0) -> None:
        """`timeout` in seconds for one request."""
        self._connect = connect
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._info = connect()
        self._session: aiohttp.ClientSession | None = None
        self._limits = EventLimits()

    async def __aenter__(self) -> Self:
        self._session = self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            base_url=self._info.server.rstrip("/") + "/",
            connector=aiohttp.TCPConnector(ssl=self._info.as_ssl_context()),
            timeout=self._timeout,
            proxy=self._info.proxy_url,
        )

    async def objects(self, plural: str, namespace: str | None = None) -> list[Raw]:
        """All objects of a kind, in one namespace or in all."""
        found: list[Raw] = []
        token = ""
        while True:
            parameters = {"limit": str(_PAGE)} | ({"continue": token} if token else {})
            page = await self.call("GET", _path(plural, namespace), params=parameters)
            found.extend(page["items"])
            token = page["metadata"].get("continue", "")
            if not token:
                return found

    async def get(self, plural: str, namespace: str, name: str) -> Raw | None:
        """One object, None if there is none."""
        found: Raw | None = await self.call("GET", _path(plural, namespace, name))
        return found

    async def patch_status(self, plural: str, meta: Meta, status: Mapping[str, Any]) -> None:
        """Writes these fields of the status; null removes one. A vanished object is fine."""
        path = _path(plural, meta.namespace, meta.name) + "/status"
        await self.call("PATCH", path, json={"status": status}, content_type=MERGE)

    async def set_finalizer(self, plural: str, meta: Meta, present: bool) -> None:
        """Adds or removes our finalizer, and leaves others as they are.

        Removing it from a vanished object is fine. Raises BusyError where the object has changed
        since it was read, or has vanished before it could be held.
        """
        others = [name for name in meta.finalizers if name != FINALIZER]
        wanted = [*others, FINALIZER] if present else others
        body = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": wanted}}
        path = _path(plural, meta.namespace, meta.name)
        answer = await self.call("PATCH", path, json=body, content_type=MERGE)
        if answer is None and present:
            raise BusyError("Vanished", f"{path} was deleted before anything was made for it")

    async def annotate(
        self, plural: str, meta: Meta, annotations: Mapping[str, str | None]
    ) -> Meta:
        """Writes these annotations, None removes one; gives the metadata as they are then.

        Raises BusyError where the object has changed since it was read, or has vanished.
        """
        body = {
            "metadata": {
                "resourceVersion": meta.resource_version,
                "annotations": dict(annotations),
            }
        }
        path = _path(plural, meta.namespace, meta.name)
        answer = await self.call("PATCH", path, json=body, content_type=MERGE)
        if answer is None:
            raise BusyError("Vanished", f"{path} was deleted while it was annotated")
        return Meta.model_validate(answer["metadata"])

    async def get_secret(self, namespace: str, name: str) -> SecretState | None:
        """The Secret, None if there is none."""
        found = await self.call("GET", f"api/v1/namespaces/{namespace}/secrets/{name}")
        return None if found is None else _secret_state(found)

    async def write_secret(
        self,
        owner: Raw,
        name: str,
        observed: SecretState | None,
        data: Mapping[str, str],
        notes: Mapping[str, str],
    ) -> None:
        """Makes the Secret hold just `data` and `notes`, owned by `owner`.

        Raises BusyError where it changed or vanished since it was observed.
        """
        namespace = owner["metadata"]["namespace"]
        body = _secret_body(owner, name, data, notes)
        path = f"api/v1/namespaces/{namespace}/secrets"
        if observed is None:
            await self.call("POST", path, json=body)
            return
        gone = set(observed.data) - set(data)
        body["data"] |= dict.fromkeys(gone)
        body["metadata"]["annotations"] |= dict.fromkeys(set(observed.notes) - set(notes))
        body["metadata"]["resourceVersion"] = observed.resource_version
        answer = await self.call("PATCH", f"{path}/{name}", json=body, content_type=MERGE)
        if answer is None:
            raise BusyError("Vanished", f"Secret {name} was deleted while it was changed")

    async def post_event(self, subject: Raw, type_: str, reason: str, note: str) -> None:
        """Tells people, unless they are told too much (`event_limits`), and the log anyhow.

        That it could not be posted goes no further: an event is a courtesy, and a namespace that
        is being deleted takes none.
        """
        meta = subject["metadata"]
        path = f"apis/events.k8s.io/v1/namespaces/{meta['namespace']}/events"
        about = f"{subject['kind']} {meta['namespace']}/{meta['name']}"
        posted = self._limits.allow(meta["uid"], reason, note, time.monotonic())
        extra = {"about": about, "reason": reason, "note": note, "posted": posted}
        logger.info("event", extra=extra)
        if not posted:
            return
        try:
            await self.call("POST", path, json=_event(subject, type_, reason, note))
        except (UnavailableError, BusyError) as error:
            if error.reason != _TERMINATING:
                logger.warning("an event was not posted", extra={"reason": error.message})

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """The decoded answer; None where the API server knows the kind and has no such object.

        Raises BusyError for 409 and UnavailableError for whatever else is no success.
        """
        try:
            status, answer = await self._send(method, path, json, params, content_type)
            if status == 401:
                self._info = await asyncio.to_thread(self._connect)
                status, answer = await self._send(method, path, json, params, content_type)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            metrics.DEPENDENCY_ERRORS.labels("kubernetes").inc()
            raise UnavailableError(
                "KubernetesUnavailable", f"the Kubernetes API does not answer: {error!r}"
            ) from error
        if status == 404 and _is_absence(answer):
            return None
        if status == 409:
            raise BusyError("Changed", f"{method} {path}: {answer.get('message', 'conflict')}")
        if status >= 400:
            metrics.DEPENDENCY_ERRORS.labels("kubernetes").inc()
            raise UnavailableError(
                _TERMINATING if _is_terminating(answer) else "KubernetesRefused",
                f"the Kubernetes API answers {status} to {method} {path}: "
                f"{answer.get('message', '')}",
            )
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        json: Any,
        params: Mapping[str, str] | None,
        content_type: str,
    ) -> tuple[int, Any]:
        assert self._session is not None, "the client is not open"  # noqa: S101
        headers = self._info.as_http_headers()
        if json is not None:
            headers["Content-Type"] = content_type
        async with self._session.request(
            method, path, json=json, params=params, headers=headers
        ) as response:
            return response.status, _decoded(await response.text())


def _decoded(text: str) -> Any:
    """The answer, or what a proxy or a starting server says instead of JSON."""
    try:
        return json_module.loads(text)
    except ValueError:
        return {"message": text.strip()[:200]}


def _is_absence(answer: Any) -> bool:
    """Whether a 404 means that the object is not there.

    A server that does not serve the kind (its CRD is gone, or it has just started) answers 404
    too; taking that for deleted tenants would throw all their keys out.
    """
    details = answer.get("details") or {}
    return answer.get("reason") == "NotFound" and bool(details.get("name"))


def _is_terminating(answer: Any) -> bool:
    causes = (answer.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == _TERMINATING for cause in causes)


def _path(plural: str, namespace: str | None = None, name: str | None = None) -> str:
    parts = [f"apis/{GROUP}/{VERSION}"]
    if namespace is not None:
        parts.append(f"namespaces/{namespace}")
    parts.append(plural)
    if name is not None:
        parts.append(name)
    return "/".join(parts)


def _secret_state(found: Raw) -> SecretState:
    meta = found["metadata"]
    annotations = meta.get("annotations") or {}
    owners: Sequence[Mapping[str, Any]] = meta.get("ownerReferences") or ()
    return SecretState(
        resource_version=meta["resourceVersion"],
        deleting="deletionTimestamp" in meta,
        managed=(meta.get("labels") or {}).get(MANAGED_BY) == MANAGER,
        owner_uids=frozenset(owner["uid"] for owner in owners),
        data={name: _decode(value) for name, value in (found.get("data") or {}).items()},
        notes={name: value for name, value in annotations.items() if NOTES in name},
    )


def _decode(value: str) -> str:
    return base64.b64decode(value).decode("utf-8", "replace").strip()


def _secret_body(
    owner: Raw, name: str, data: Mapping[str, str], notes: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": name,
            "labels": {MANAGED_BY: MANAGER, f"{GROUP}/tenant": owner["metadata"]["name"]},
            "annotations": dict(notes),
            "ownerReferences": [
                {
                    "apiVersion": owner["apiVersion"],
                    "kind": owner["kind"],
                    "name": owner["metadata"]["name"],
                    "uid": owner["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def _event(subject: Raw, type_: str, reason: str, note: str) -> dict[str, Any]:
    meta = subject["metadata"]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{secrets.token_hex(8)}"},
        "eventTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": type_,
        "reason": reason,
        "note": note[:1024],
        "action": "Reconcile",
        "reportingController": f"{GROUP}/operator",
        "reportingInstance": MANAGER,
        "regarding": {
            "apiVersion": subject["apiVersion"],
            "kind": subject["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
    }
