"""What the bench reads out of a rendered chart."""

import base64

import pytest

from bench.chart import Chart

SECRET = {
    "kind": "Secret",
    "metadata": {"name": "argus-engines"},
    "data": {"kafka-password": base64.b64encode(b"open sesame").decode()},
}
VARIABLES = [
    {"name": "ARGUS_OPS__PORT", "value": "9090"},
    {
        "name": "ARGUS_KAFKA__PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "argus-engines", "key": "kafka-password"}},
    },
    {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
]
INGEST = {
    "kind": "Deployment",
    "metadata": {"name": "argus-ingest"},
    "spec": {"template": {"spec": {"containers": [{"env": VARIABLES}]}}},
}


def test_a_pod_is_told_values_and_secrets_in_clear_but_nothing_of_its_node() -> None:
    environment = Chart([SECRET, INGEST]).environment("Deployment", "ingest")
    assert environment == {"ARGUS_OPS__PORT": "9090", "ARGUS_KAFKA__PASSWORD": "open sesame"}


def test_a_secret_that_is_not_rendered_is_an_error() -> None:
    with pytest.raises(LookupError, match="argus-engines"):
        Chart([INGEST]).environment("Deployment", "ingest")


def test_a_component_that_is_not_rendered_is_an_error() -> None:
    with pytest.raises(LookupError, match="argus-stream"):
        Chart([INGEST]).container("Deployment", "stream")
