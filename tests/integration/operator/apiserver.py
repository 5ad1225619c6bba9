"""A real Kubernetes API server without a cluster: etcd and kube-apiserver on 127.0.0.1.

No controller runs, so nothing is garbage-collected; admission, CEL, RBAC, watches and optimistic
concurrency are the real ones. Programs come from the cache that the node image is built from or,
where images are pulled, out of the official images.
"""

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.integration.operator.waiting import eventually

ROOT = Path(__file__).parents[3]
ADMIN, OPERATOR = "admin", "operator"
RELEASE = "argus"
"""The namespace of the release, in which the operator's Role is."""
START_TIMEOUT_S = 90.0
AUDIT_LOG = "audit.jsonl"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "rules": [{"level": "Metadata", "users": [OPERATOR], "omitStages": ["RequestReceived"]}],
}
MERGE = "application/merge-patch+json"

PROGRAMS = r"""
source hack/lib.sh
decide_images
if [[ $ARGUS_IMAGES == build ]]; then
  hack/tools.sh node
  tool_directory node
else
  directory=$CACHE/tools/apiserver-$KUBERNETES_VERSION
  if [[ ! -d $directory ]]; then
    rm -rf "$directory.part"
    mkdir -p "$directory.part"
    for image in "kube-apiserver:$KUBERNETES_VERSION" etcd:3.6.5-0; do
      program=${image%%:*}
      container=$(docker create "registry.k8s.io/$image" "$program")
      docker cp "$container:/usr/local/bin/$program" "$directory.part/"
      docker rm "$container" >/dev/null
    done
    mv "$directory.part" "$directory"
  fi
  echo "$directory"
fi
"""


def programs() -> Path:
    """The directory that holds etcd and kube-apiserver; fails the test where they cannot be had."""
    done = subprocess.run(
        ["bash", "-c", PROGRAMS], cwd=ROOT, capture_output=True, text=True, timeout=1_800
    )
    if done.returncode != 0:
        pytest.fail(f"no etcd and kube-apiserver: {done.stderr[-2_000:]}")
    return Path(done.stdout.strip().splitlines()[-1])


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class ApiServer:
    """A running API server, and a client of it as administrator."""

    url: str
    directory: Path
    session: aiohttp.ClientSession
    provoked: set[str] = field(default_factory=set)
    """URIs that a test had refused on purpose."""

    def kubeconfig(self, user: str) -> Path:
        """A kubeconfig for one of the users."""
        path = self.directory / f"{user}.kubeconfig"
        cluster = {"server": self.url, "insecure-skip-tls-verify": True}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": user}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path.write_text(json.dumps(content))
        return path

    async def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """The decoded answer; raises AssertionError with the server's words for an error."""
        headers = {"Content-Type": content_type, "Authorization": f"Bearer {ADMIN}"}
        async with self.session.request(
            method, f"{self.url}/{path}", json=body, headers=headers, ssl=False
        ) as response:
            answer = await response.json(content_type=None)
            assert response.status < 400, f"{response.status}: {answer.get('message')}"
            return answer

    def asked(self, user: str) -> list[dict[str, Any]]:
        """The audit log's entries of a user, one for each request."""
        lines = (self.directory / AUDIT_LOG).read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["user"]["username"] == user]

    def forbidden(self) -> list[str]:
        """The operator's requests that its rights do not cover, but for those on purpose."""
        asked = [entry for entry in self.asked(OPERATOR) if is_forbidden(entry)]
        told = [f"{entry['verb']} {entry['requestURI']}" for entry in asked]
        return [line for line in told if line.partition(" ")[2] not in self.provoked]

    async def found(self, path: str) -> Any | None:
        """The object at a path, None where there is none."""
        headers = {"Authorization": f"Bearer {ADMIN}"}
        async with self.session.get(f"{self.url}/{path}", headers=headers, ssl=False) as response:
            return None if response.status == 404 else await response.json()


def _run(log: Path, *command: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as sink:
        return subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)


def _etcd(directory: Path, program: Path, port: int) -> subprocess.Popen[bytes]:
    url, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
    return _run(
        directory / "etcd.log",
        str(program),
        *("--data-dir", str(directory / "etcd"), "--unsafe-no-fsync"),
        *("--listen-client-urls", url, "--advertise-client-urls", url),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"default={peer}"),
    )


def _apiserver(directory: Path, program: Path, etcd: int, port: int) -> subprocess.Popen[bytes]:
    key, tokens, policy = (directory / name for name in ("sa.key", "tokens.csv", "policy.json"))
    policy.write_text(json.dumps(AUDIT_POLICY))
    openssl = shutil.which("openssl") or "openssl"
    subprocess.run([openssl, "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    tokens.write_text(f"{ADMIN},{ADMIN},{ADMIN},system:masters\n{OPERATOR},{OPERATOR},{OPERATOR}\n")
    return _run(
        directory / "apiserver.log",
        str(program),
        *("--etcd-servers", f"http://127.0.0.1:{etcd}"),
        *("--bind-address", "127.0.0.1", "--secure-port", str(port)),
        *("--cert-dir", str(directory / "certs"), "--token-auth-file", str(tokens)),
        *("--authorization-mode", "RBAC", "--disable-admission-plugins", "ServiceAccount"),
        *("--service-account-issuer", "https://kubernetes.default.svc"),
        *("--service-account-key-file", str(key), "--service-account-signing-key-file", str(key)),
        *("--service-cluster-ip-range", "10.0.0.0/24"),
        *("--audit-policy-file", str(policy), "--audit-log-path", str(directory / AUDIT_LOG)),
    )


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[ApiServer]:
    """An API server with the CRDs and with the rights that the chart gives the operator."""
    where = programs()
    port, etcd_port = free_port(), free_port()
    started = [_etcd(directory, where / "etcd", etcd_port)]
    try:
        started.append(_apiserver(directory, where / "kube-apiserver", etcd_port, port))
        async with aiohttp.ClientSession() as session:
            server = ApiServer(f"https://127.0.0.1:{port}", directory, session)
            await _ready(server, started)
            await _install(server)
            yield server
            assert not server.forbidden()
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=30)


async def _ready(server: ApiServer, started: list[subprocess.Popen[bytes]]) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            for process in started:
                if process.poll() is not None:
                    logs = "\n".join(
                        log.read_text()[-2_000:] for log in server.directory.glob("*.log")
                    )
                    pytest.fail(f"{process.args!r} ended: {logs}")
            try:
                await server.call("GET", "api/v1/namespaces/default")
            except (aiohttp.ClientError, AssertionError):
                await asyncio.sleep(0.2)
            else:
                return


async def _install(server: ApiServer) -> None:
    crds = "apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        await server.call("POST", crds, yaml.safe_load(file.read_text()))
    for plural in ("argustenants", "arguspipelines", "argusreplays"):
        await eventually(partial(_served, server, plural), START_TIMEOUT_S)
    await server.call("POST", "api/v1/namespaces", {"metadata": {"name": RELEASE}})
    group = "rbac.authorization.k8s.io"
    for kind, where in (("ClusterRole", ""), ("Role", f"namespaces/{RELEASE}/")):
        path = f"apis/{group}/v1/{where}{kind.lower()}"
        role = {"metadata": {"name": OPERATOR}, "rules": granted(kind)}
        await server.call("POST", f"{path}s", role)
        binding = {
            "metadata": {"name": OPERATOR},
            "roleRef": {"apiGroup": group, "kind": kind, "name": OPERATOR},
            "subjects": [{"kind": "User", "name": OPERATOR}],
        }
        await server.call("POST", f"{path}bindings", binding)


async def _served(server: ApiServer, plural: str) -> bool:
    return await server.found(f"apis/argus.dev/v1alpha1/{plural}") is not None


def is_forbidden(entry: Mapping[str, Any]) -> bool:
    """Whether no right covers a request; admission also answers 403, in a namespace that ends."""
    decision: str = entry["annotations"]["authorization.k8s.io/decision"]
    return decision == "forbid"


def granted(kind: str) -> list[dict[str, Any]]:
    """The rules of the operator's ClusterRole or Role, as the chart has them."""
    documents = (ROOT / "charts/argus/templates/rbac.yaml").read_text().split("\n---\n")
    (text,) = (text for text in documents if f"\nkind: {kind}\n" in text)
    found: list[dict[str, Any]] = yaml.safe_load(text[text.index("rules:") :])["rules"]
    return found
