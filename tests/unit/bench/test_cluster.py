"""Pods found as processes below the node's container, and what the bench asks the operator for."""

import pytest

from bench import cluster
from bench.accounting import Process
from bench.house import Setting

COMMANDS = {
    1: ["/sbin/init"],
    2: ["/usr/local/bin/containerd"],
    10: ["/opt/argus/venv/bin/python", "/opt/argus/venv/bin/argus-ingest"],
    11: ["/opt/argus/venv/bin/python", "/opt/argus/venv/bin/argus-ingest"],
    12: ["/opt/argus/venv/bin/python", "/opt/argus/venv/bin/argus-stream"],
    13: ["/opt/argus/venv/bin/python", "/opt/argus/venv/bin/argus-operator"],
    20: [
        "java",
        "-Xmx384m",
        "-cp",
        "/opt/kafka/libs/*",
        "kafka.Kafka",
        "/etc/argus/server.properties",
    ],
    21: ["valkey-server *:6379"],
    30: ["postgres", "-D", "/var/lib/postgresql/data/pgdata"],
    31: ["postgres: argus_stream argus 10.244.0.62(40666) idle"],
    32: ["postgres: checkpointer "],
    40: ["kube-apiserver", "--advertise-address=172.18.0.2"],
    50: [],
    99: ["postgres", "-D", "/somebody/elses"],
}
PARENTS = (
    {1: 0, 31: 30, 32: 30, 99: 0}
    | {pid: 2 for pid in COMMANDS if 2 < pid < 99 and pid not in (31, 32)}
    | {2: 1}
)
TABLE = {pid: Process(pid, parent, 1.0, 1) for pid, parent in PARENTS.items()}


def test_components_are_told_by_what_they_were_started_with() -> None:
    assert cluster.roots(TABLE, 1, lambda pid: COMMANDS[pid]) == {
        "ingest": (10, 11),
        "kafka": (20,),
        "redis": (21,),
        "stream": (12,),
        "postgres": (30,),
    }


def test_a_component_that_does_not_run_is_an_error() -> None:
    without = {pid: process for pid, process in TABLE.items() if pid != 12}
    with pytest.raises(RuntimeError, match="stream"):
        cluster.roots(without, 1, lambda pid: COMMANDS[pid])


def test_there_is_a_tenant_and_a_pipeline_for_each_mode_and_no_limit_is_met() -> None:
    items = cluster.manifests("there", Setting(modes=("single", "batch"), partitions=3))["items"]
    assert [one["kind"] for one in items] == [
        "Namespace",
        *("ArgusTenant", "ArgusPipeline"),
        *("ArgusTenant", "ArgusPipeline"),
    ]
    assert {
        one["spec"]["topic"]["partitions"] for one in items if one["kind"] == "ArgusPipeline"
    } == {3}
    for one in items[1:]:
        assert one["spec"]["deletionPolicy"] == "Delete"
