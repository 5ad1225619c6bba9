"""How the scripts behave where images and programs can be had ready-made.

Docker, kind and curl are stand-ins here that write their arguments down: the tests' own host may
reach no registry. What is checked is what these scripts ask for, not what a registry answers.
"""

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
VALUES = yaml.safe_load((ROOT / "charts" / "argus" / "values.yaml").read_text())
NODE_IMAGE = re.compile(r"kindest/node:v1\.34\.\d+@sha256:[0-9a-f]{64}")


class Host:
    """A host with stand-ins first on its PATH and a cache of its own."""

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.calls = directory / "calls"
        self.calls.touch()
        self.cache = directory / "cache"
        self.environment = {
            **{name: value for name, value in os.environ.items() if "ARGUS" not in name},
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(self.cache),
            "XDG_STATE_HOME": str(directory / "state"),
        }

    def stand_in(self, name: str, answers: str = "") -> None:
        """A program that writes down its arguments, then runs `answers`, a shell script."""
        program = self.bin / name
        program.write_text(f'#!/bin/bash\necho "{name} $*" >>{self.calls}\n{answers}\n')
        program.chmod(0o755)

    def run(
        self, script: str, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs one of the project's scripts; the caller judges it."""
        return subprocess.run(
            [str(ROOT / "hack" / script), *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def called(self) -> list[str]:
        """The commands given so far."""
        return self.calls.read_text().splitlines()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


ABSENT = 'case "$1 $2" in "image inspect") exit 1 ;; esac'
BUILT = 'case "$1 $2" in "image inspect") echo sha256:0123456789abcdef ;; esac'


def test_engine_images_are_pulled_as_the_chart_names_them(host: Host) -> None:
    host.stand_in("docker", ABSENT)
    done = host.run("images.sh", "--print", "kafka", "valkey", "timescaledb", ARGUS_IMAGES="pull")
    images = VALUES["images"]
    expected = [images["kafka"], images["valkey"], images["postgres"]]
    assert done.stdout.split() == expected
    assert [f"docker pull --quiet {image}" for image in expected] == [
        call for call in host.called() if "pull" in call
    ]


def test_an_engine_image_that_is_there_is_not_pulled_again(host: Host) -> None:
    host.stand_in("docker")
    host.run("images.sh", "kafka", ARGUS_IMAGES="pull")
    assert not [call for call in host.called() if "pull" in call]


def test_the_application_is_built_on_the_published_debian(host: Host) -> None:
    host.stand_in("docker", BUILT)
    done = host.run("images.sh", "--print", "app", ARGUS_IMAGES="pull")
    assert done.stdout.strip() == "argus/app:0.2.0-0123456789ab"
    (build,) = [call for call in host.called() if call.startswith("docker build")]
    assert "--build-arg BASE=debian:bookworm-slim" in build


def test_a_build_that_fails_says_why_and_fails(host: Host) -> None:
    host.stand_in("docker", '[[ $1 != build ]] || { echo "no such package"; exit 1; }')
    done = host.run("images.sh", "--print", "app", ARGUS_IMAGES="pull")
    assert done.returncode != 0
    assert "no such package" in done.stderr
    assert done.stdout == ""


def test_a_registry_that_answers_means_pulling(host: Host) -> None:
    host.stand_in("docker", ABSENT)
    done = host.run("images.sh", "--print", "node")
    assert NODE_IMAGE.fullmatch(done.stdout.strip())


def test_any_other_word_for_the_images_is_refused(host: Host) -> None:
    done = host.run("images.sh", "node", ARGUS_IMAGES="maybe")
    assert done.returncode != 0
    assert "'maybe'; it can be pull or build" in done.stderr


def test_a_cluster_beside_argus_has_its_own_name_and_ports(host: Host, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    host.stand_in("docker")
    host.stand_in("kubectl")
    host.stand_in("kind", f'[[ $1 != create ]] || cat >"{config}"')
    done = host.run("cluster.sh", "up", ARGUS_IMAGES="pull", CLUSTER="argus-test")
    assert done.returncode == 0, done.stderr
    (create,) = [call for call in host.called() if call.startswith("kind create")]
    assert NODE_IMAGE.search(create)
    assert "state/argus/argus-test.kubeconfig" in create
    cluster = yaml.safe_load(config.read_text())
    (node,) = cluster["nodes"]
    assert cluster["name"] == "argus-test"
    assert node["labels"] == {"agentpool": "argus"}
    assert {port["containerPort"]: port["hostPort"] for port in node["extraPortMappings"]} == {
        30080: 18080,
        30432: 15432,
        30379: 16379,
        30094: 19094,
    }
    assert {port["listenAddress"] for port in node["extraPortMappings"]} == {"127.0.0.1"}


CONTENT = "#!/bin/sh\n"
DIGEST = hashlib.sha256(CONTENT.encode()).hexdigest()


def curl(digest: str) -> str:
    """A curl that answers with a checksum, or writes the content to its -o file."""
    return f'case $* in *-o*) printf "#!/bin/sh\\n" >"$5" ;; *) echo "{digest}  name" ;; esac'


def test_a_published_program_is_kept_under_its_version(host: Host) -> None:
    host.stand_in("curl", curl(DIGEST))
    host.stand_in("kubectl", 'echo "Client Version: v1.20.1"')
    done = host.run("tools.sh", "kubectl", ARGUS_IMAGES="pull")
    assert done.returncode == 0, done.stderr
    (kept,) = (host.cache / "argus" / "tools").glob("kubectl-v1.34.*/kubectl")
    assert kept.read_text() == CONTENT
    assert os.access(kept, os.X_OK)


def test_a_program_that_is_not_what_was_published_is_not_kept(host: Host) -> None:
    host.stand_in("curl", curl(DIGEST[::-1]))
    host.stand_in("kubectl", 'echo "Client Version: v1.20.1"')
    done = host.run("tools.sh", "kubectl", ARGUS_IMAGES="pull")
    assert done.returncode != 0
    assert not list((host.cache / "argus" / "tools").glob("kubectl-v1.34.?"))


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("kubectl", "Client Version: v1.33.9"),
        ("kubectl", "Client Version: v1.35.0"),
        ("helm", "v3.18.0"),
        ("kind", "0.33.0"),
    ],
)
def test_a_program_on_the_path_serves_if_its_version_does(
    host: Host, name: str, answer: str
) -> None:
    host.stand_in("curl", "exit 1")
    host.stand_in(name, f'echo "{answer}"')
    assert host.run("tools.sh", name, ARGUS_IMAGES="pull").returncode == 0


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("kubectl", "Client Version: v1.32.4"),
        ("kubectl", "Client Version: v1.36.0"),
        ("helm", "v4.0.1"),
        ("helm", "v3.9.0"),
        ("kind", "0.20.0"),
    ],
)
def test_another_version_does_not_serve(host: Host, name: str, answer: str) -> None:
    host.stand_in("curl", "exit 1")
    host.stand_in(name, f'echo "{answer}"')
    assert host.run("tools.sh", name, ARGUS_IMAGES="pull").returncode != 0
