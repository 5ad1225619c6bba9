"""What is true of every pod and manifest, with whichever values the chart is used."""

import subprocess
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.chart.helm import (
    CHART,
    ENGINES,
    KUBERNETES,
    PROFILES,
    Manifest,
    container,
    millicores,
    of_kind,
    pods,
    render,
    replay_job,
    run,
    text,
)

profiles = pytest.mark.parametrize("profile", PROFILES)

CONTROL_PLANE_MILLICORES = 850
KIND_MILLICORES = 2_000


def manifests(profile: str) -> list[Manifest]:
    return render(*PROFILES[profile])


def validate(manifests: str, directory: Path) -> subprocess.CompletedProcess[str]:
    file = directory / "manifests.yaml"
    file.write_text(manifests)
    return run("kubectl-validate", "--version", KUBERNETES, str(file))


def requested_millicores(profile: str) -> float:
    return sum(
        replicas * millicores(container(spec)["resources"]["requests"]["cpu"])
        for name, replicas, spec in pods(manifests(profile))
        if not name.endswith("-test")
    )


@profiles
def test_helm_lint_finds_nothing(profile: str) -> None:
    done = run(
        *("helm", "lint", "--strict", str(CHART), "--kube-version", KUBERNETES), *PROFILES[profile]
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


@profiles
def test_manifests_satisfy_the_schemas_of_kubernetes(profile: str, tmp_path: Path) -> None:
    done = validate(text(*PROFILES[profile]), tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schemas_of_kubernetes_refuse_a_misspelt_field(tmp_path: Path) -> None:
    wrong = text(*PROFILES["kind"]).replace("enableServiceLinks:", "enableServiceLink:")

    done = validate(wrong, tmp_path)

    assert done.returncode != 0
    assert "enableServiceLink" in done.stdout + done.stderr


@profiles
def test_every_pod_meets_the_restricted_standard(profile: str) -> None:
    for name, _, spec in pods(manifests(profile)):
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True, name
        assert pod["runAsUser"] > 0, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container(spec)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        kinds = {kind for volume in spec.get("volumes", ()) for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "secret", "emptyDir"}, name


@profiles
def test_only_the_operator_gets_a_token(profile: str) -> None:
    with_token = {
        name for name, _, spec in pods(manifests(profile)) if spec["automountServiceAccountToken"]
    }

    assert with_token == {"argus-operator"}
    for account in of_kind("ServiceAccount", manifests(profile)).values():
        assert account["automountServiceAccountToken"] is False


@profiles
def test_every_pod_runs_under_an_account_of_the_release(profile: str) -> None:
    accounts = set(of_kind("ServiceAccount", manifests(profile)))

    assert {spec["serviceAccountName"] for _, _, spec in pods(manifests(profile))} == accounts


@profiles
def test_no_pod_gets_other_services_in_its_environment(profile: str) -> None:
    assert all(spec["enableServiceLinks"] is False for _, _, spec in pods(manifests(profile)))


@profiles
def test_memory_is_bounded_and_cpu_is_not(profile: str) -> None:
    for name, _, spec in pods(manifests(profile)):
        resources = container(spec)["resources"]
        assert set(resources["limits"]) == {"memory"}, name
        assert set(resources["requests"]) == {"cpu", "memory"}, name


@profiles
def test_every_lasting_pod_is_probed(profile: str) -> None:
    for name, _, spec in pods(manifests(profile)):
        if not name.endswith(("-test", "-replay")):
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container(spec)), name


@profiles
def test_every_workload_may_lose_one_pod_at_a_time(profile: str) -> None:
    workloads = {
        found["metadata"]["name"]: found["spec"]["selector"]
        for found in manifests(profile)
        if found["kind"] in {"Deployment", "StatefulSet"}
    }
    budgets = of_kind("PodDisruptionBudget", manifests(profile))

    assert {name: found["spec"]["selector"] for name, found in budgets.items()} == workloads
    assert all(found["spec"]["maxUnavailable"] == 1 for found in budgets.values())


@profiles
def test_every_service_selects_pods_that_have_its_ports(profile: str) -> None:
    templates = [
        found["spec"]["template"]
        for found in manifests(profile)
        if found["kind"] in {"Deployment", "StatefulSet"}
    ]
    for name, service in of_kind("Service", manifests(profile)).items():
        selector = service["spec"]["selector"].items()
        (chosen,) = [
            found for found in templates if selector <= found["metadata"]["labels"].items()
        ]
        ports = container(chosen["spec"])["ports"]
        known = {port["name"] for port in ports} | {port["containerPort"] for port in ports}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= known, name


@profiles
def test_everything_that_is_mounted_or_read_is_there(profile: str) -> None:
    """ConfigMaps are the release's; Secrets are its own or named by the values."""
    maps = of_kind("ConfigMap", manifests(profile))
    secrets = of_kind("Secret", manifests(profile))
    for name, _, spec in pods(manifests(profile)):
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        for volume in volumes.values():
            assert "configMap" not in volume or volume["configMap"]["name"] in maps, name
        mounted = {mount["name"] for mount in container(spec).get("volumeMounts", ())}
        claimed = {"data"} if name.removeprefix("argus-") in ENGINES else set()
        assert mounted == set(volumes) | claimed, name
        for reference in secret_references(spec):
            if reference["name"] in secrets:
                assert reference["key"] in secrets[reference["name"]]["data"], name
            else:
                assert reference["name"] == "argus-credentials", name


def secret_references(spec: Manifest) -> list[Mapping[str, str]]:
    found = [
        variable["valueFrom"]["secretKeyRef"]
        for variable in container(spec).get("env", ())
        if "valueFrom" in variable
    ]
    return list(found)


@profiles
def test_passwords_reach_pods_from_secrets_only(profile: str) -> None:
    for name, _, spec in pods(manifests(profile)):
        for variable in container(spec).get("env", ()):
            if "PASSWORD" in variable["name"]:
                assert "secretKeyRef" in variable["valueFrom"], name


@pytest.mark.parametrize("profile", ["kind", "aks-with-engines"])
def test_generated_passwords_stand_in_the_secret_and_nowhere_else(profile: str) -> None:
    (secret,) = of_kind("Secret", manifests(profile)).values()
    encoded = [value for key, value in secret["data"].items() if key.endswith("-password")]
    others = yaml.dump_all(found for found in manifests(profile) if found["kind"] != "Secret")

    assert encoded
    for password in encoded:
        assert password not in others
        assert b64decode(password).decode() not in others


@profiles
def test_every_pod_goes_to_the_chosen_nodes(profile: str) -> None:
    wanted = None if profile == "default" else {"agentpool": "argus"}

    assert all(spec.get("nodeSelector") == wanted for _, _, spec in pods(manifests(profile)))


def test_requests_of_kind_fit_beside_the_control_plane_even_in_a_roll_out() -> None:
    assert requested_millicores("kind") <= 1_000
    surge = millicores(
        container(
            of_kind("Deployment", manifests("kind"))["argus-ingest"]["spec"]["template"]["spec"]
        )["resources"]["requests"]["cpu"]
    )
    assert requested_millicores("kind") + surge <= KIND_MILLICORES - CONTROL_PLANE_MILLICORES


@pytest.mark.parametrize("profile", ["default", "aks", "aks-with-engines"])
def test_requests_fit_a_node_of_four_cores(profile: str) -> None:
    assert requested_millicores(profile) <= 3_200


@profiles
def test_a_replay_is_a_job_that_kubernetes_takes(profile: str, tmp_path: Path) -> None:
    job = replay_job(manifests(profile))
    done = validate(yaml.dump(job), tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert job["metadata"]["namespace"] == "argus"
    assert job["spec"]["backoffLimit"] == 3
    assert job["spec"]["ttlSecondsAfterFinished"] == 3_600
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


@profiles
def test_a_replay_reads_sql_as_the_reader_and_has_no_other_password(profile: str) -> None:
    spec = replay_job(manifests(profile))["spec"]["template"]["spec"]
    variables = {found["name"]: found for found in container(spec)["env"]}
    keys = {reference["key"] for reference in secret_references(spec)}

    assert variables["ARGUS_DATABASE__USER"]["value"] == "argus_reader"
    assert keys == {"reader-password", "kafka-username", "kafka-password"}


def test_the_operator_is_never_two() -> None:
    operator = of_kind("Deployment", manifests("default"))["argus-operator"]["spec"]

    assert operator["replicas"] == 1
    assert operator["strategy"] == {"type": "Recreate"}


def test_the_engines_secret_has_a_password_of_its_own_for_each_use() -> None:
    secret = of_kind("Secret", manifests("kind"))["argus-engines"]
    passwords = {key: value for key, value in secret["data"].items() if key.endswith("-password")}

    assert set(passwords) == {
        "kafka-password",
        "redis-password",
        "postgres-password",
        "stream-password",
        "reader-password",
    }
    assert len(set(passwords.values())) == len(passwords)
    assert secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_external_engines_leave_nothing_of_the_built_in_ones() -> None:
    names = {found["metadata"]["name"] for found in manifests("aks")}

    assert not {f"argus-{engine}" for engine in ENGINES} & names
    assert "argus-engines" not in names


@pytest.mark.parametrize(
    ("setting", "rolled"),
    [
        ("tiers.standard.perKey.rate=6000", set()),
        ("engines.valkey.maxMemory=64mb", {"argus-valkey"}),
        ("engines.kafka.external.port=19094", {"argus-kafka"}),
        ("log.level=DEBUG", {"argus-operator", "argus-ingest", "argus-stream"}),
        ("replay.resources.limits.memory=1Gi", {"argus-operator"}),
        ("ingest.service.nodePort=30081", set()),
    ],
)
def test_a_change_rolls_the_pods_that_read_it_and_no_others(setting: str, rolled: set[str]) -> None:
    before, after = (
        {
            found["metadata"]["name"]: found["spec"]["template"]
            for found in render(*PROFILES["kind"], *more)
            if found["kind"] in {"Deployment", "StatefulSet"}
        }
        for more in ((), ("--set", setting))
    )

    assert {name for name in before if before[name] != after[name]} == rolled
