"""The operator as a process of its own, between a real API server and real engines."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from tests.integration.operator.apiserver import MERGE, OPERATOR, RELEASE, ApiServer, free_port
from tests.integration.operator.waiting import eventually

RESOURCES = "apis/argus.dev/v1alpha1"
COMMAND = "from argus_operator.main import main; main()"


@dataclass
class Proxy:
    """A way to a TCP server that can be closed and opened."""

    port: int
    target: tuple[str, int]
    server: asyncio.Server | None = None
    connections: set[asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Lets connections through."""
        self.connections = set()
        self.server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Refuses new connections and cuts those there are."""
        if self.server is not None:
            self.server.close()
        for writer in self.connections or ():
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self.target)
        ways = {(reader, back), (there, writer)}
        assert self.connections is not None
        self.connections |= {writer, back}
        await asyncio.gather(*(_pump(source, sink) for source, sink in ways))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()


@dataclass
class Engines:
    """Where the engines are, and a way to the database that tests may cut."""

    kafka: str
    redis_url: str
    database: str
    to_database: Proxy


@dataclass
class Operator:
    """A running operator; `kubernetes` acts as the user."""

    kubernetes: ApiServer
    engines: Engines
    registry_topic: str
    ops: str
    process: subprocess.Popen[bytes]
    log: Path

    async def namespace(self) -> str:
        """Makes a namespace of its own for a test."""
        name = f"t{secrets.token_hex(4)}"
        body = {"metadata": {"name": name}}
        await self.kubernetes.call("POST", "api/v1/namespaces", body)
        return name

    async def create(
        self, plural: str, namespace: str, name: str, spec: Mapping[str, Any], **meta: Any
    ) -> dict[str, Any]:
        """Creates a resource; gives it as stored."""
        kind = {
            "argustenants": "ArgusTenant",
            "arguspipelines": "ArgusPipeline",
            "argusreplays": "ArgusReplay",
        }[plural]
        body = {
            "apiVersion": "argus.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name} | meta,
            "spec": spec,
        }
        path = f"{RESOURCES}/namespaces/{namespace}/{plural}"
        made: dict[str, Any] = await self.kubernetes.call("POST", path, body)
        return made

    async def patch(self, plural: str, namespace: str, name: str, body: Any) -> None:
        """Merges `body` into a resource."""
        path = f"{RESOURCES}/namespaces/{namespace}/{plural}/{name}"
        await self.kubernetes.call("PATCH", path, body, MERGE)

    async def delete(self, plural: str, namespace: str, name: str) -> None:
        """Asks for a resource's deletion."""
        path = f"{RESOURCES}/namespaces/{namespace}/{plural}/{name}"
        await self.kubernetes.call("DELETE", path)

    async def get(self, plural: str, namespace: str, name: str) -> dict[str, Any] | None:
        """A resource, None where there is none."""
        path = f"{RESOURCES}/namespaces/{namespace}/{plural}/{name}"
        found: dict[str, Any] | None = await self.kubernetes.found(path)
        return found

    async def wait(
        self,
        plural: str,
        namespace: str,
        name: str,
        reason: str,
        type_: str = "Ready",
        seconds: float = 40,
    ) -> dict[str, Any]:
        """The resource, once a condition has this reason for its present generation."""
        seen: Any = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    found = await self.get(plural, namespace, name)
                    seen = (found or {}).get("status", {}).get("conditions", ())
                    for item in seen:
                        current = found and found["metadata"]["generation"]
                        if (item["type"], item["reason"]) == (type_, reason) and item.get(
                            "observedGeneration"
                        ) == current:
                            assert found is not None
                            return found
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{name} is not {reason} in {seconds} s but {seen}") from None

    async def gone(self, plural: str, namespace: str, name: str, seconds: float = 40) -> None:
        """Returns once the resource is no more."""

        async def absent() -> bool:
            return await self.get(plural, namespace, name) is None

        await eventually(absent, seconds)

    async def events(self, namespace: str, name: str) -> list[str]:
        """Reasons of the events on a resource."""
        path = f"apis/events.k8s.io/v1/namespaces/{namespace}/events"
        listed = await self.kubernetes.call("GET", path)
        return [item["reason"] for item in listed["items"] if item["regarding"]["name"] == name]

    async def ops_answer(self, path: str) -> tuple[int, str]:
        """Status and text of a path of the ops port."""
        async with self.kubernetes.session.get(self.ops + path) as response:
            return response.status, await response.text()


JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"namespace": RELEASE},
    "spec": {
        "backoffLimit": 3,
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "replay", "image": "argus/app:test", "command": ["argus"]}],
            }
        },
    },
}
"""What runs a replay; the chart's own is held to the operator by the chart's tests."""


def lease_name(topic: str) -> str:
    """The lease of operators that share this registry, and of no others."""
    return f"lease-{topic.lower().replace('_', '-')}"


def environment(server: ApiServer, engines: Engines, topic: str, ops_port: int) -> dict[str, str]:
    """The operator's environment variables."""
    redis, database = urlsplit(engines.redis_url), urlsplit(engines.database)
    template = server.directory / "job.json"
    template.write_text(json.dumps(JOB))
    return {
        **os.environ,
        "KUBECONFIG": str(server.kubeconfig(OPERATOR)),
        "ARGUS_KAFKA__BOOTSTRAP": engines.kafka,
        "ARGUS_REDIS__URL": f"redis://{redis.hostname}:{redis.port}/0",
        "ARGUS_REDIS__PASSWORD": redis.password or "",
        "ARGUS_DATABASE__HOST": "127.0.0.1",
        "ARGUS_DATABASE__PORT": str(engines.to_database.port),
        "ARGUS_DATABASE__NAME": database.path.removeprefix("/"),
        "ARGUS_DATABASE__USER": database.username or "",
        "ARGUS_DATABASE__PASSWORD": database.password or "",
        # Roles belong to the server, which other tests use at the same time with this password.
        "ARGUS_STREAM_PASSWORD": "argus-test",
        "ARGUS_READER_PASSWORD": "argus-test",
        "ARGUS_REGISTRY_TOPIC": topic,
        "ARGUS_REPLAY_TEMPLATE": str(template),
        "ARGUS_KAFKA_DISK_BYTES": str(1 << 40),
        "ARGUS_LOG__FORMAT": "text",
        "ARGUS_OPS__HOST": "127.0.0.1",
        "ARGUS_OPS__PORT": str(ops_port),
        "ARGUS_RESYNC__INTERVAL": "3",
        "ARGUS_RESYNC__SECRETS": "3",
        "ARGUS_RESYNC__EXPIRE_INTERVAL": "3",
        "ARGUS_RECONCILE__SETTLE": "1",
        "ARGUS_LEASE__NAMESPACE": RELEASE,
        "ARGUS_LEASE__NAME": lease_name(topic),
    }


@asynccontextmanager
async def running(
    server: ApiServer,
    engines: Engines,
    topic: str,
    log: Path,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Operator]:
    """An operator that is ready; ended by SIGTERM, and its exit must be clean.

    `settings` are environment variables in place of the usual ones.
    """
    operator = begin(server, engines, topic, log, settings)
    process = operator.process
    try:
        await _until_ready(operator)
        yield operator
    finally:
        process.terminate()
        code = await asyncio.to_thread(process.wait, 60)
    assert code == 0, f"exit code {code}: {_end_of(log)}"


def begin(
    server: ApiServer,
    engines: Engines,
    topic: str,
    log: Path,
    settings: Mapping[str, str] | None = None,
) -> Operator:
    """An operator that has only been started; whoever asks for it ends it."""
    port = free_port()
    process = _start(environment(server, engines, topic, port) | dict(settings or {}), log)
    return Operator(server, engines, topic, f"http://127.0.0.1:{port}", process, log)


def _start(variables: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", COMMAND]
    with log.open("ab") as sink:
        return subprocess.Popen(command, env=variables, stdout=sink, stderr=subprocess.STDOUT)


def _end_of(log: Path) -> str:
    return log.read_text()[-4_000:]


async def _until_ready(operator: Operator) -> None:
    async with asyncio.timeout(90):
        while True:
            assert operator.process.poll() is None, _end_of(operator.log)
            try:
                status, _ = await operator.ops_answer("/readyz")
            except aiohttp.ClientError:
                status = 0
            if status == 200:
                return
            await asyncio.sleep(0.2)
