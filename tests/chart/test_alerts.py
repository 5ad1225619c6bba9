"""The alerts: what they ask of Prometheus exists, they fire when they should, each is explained."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import argus_ingest.metrics
import argus_operator.metrics
import argus_stream.metrics
import pytest
import yaml
from argus_ingest.tally import Durations, Tally
from argus_operator.settings import AuditSettings
from prometheus_client.metrics import MetricWrapperBase

from tests.chart.helm import CHART, ROOT, Manifest, of_kind, refusal, render, run

ON = ("--set", "alerts.enabled=true")
METRICS = (argus_ingest.metrics, argus_stream.metrics, argus_operator.metrics)
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
CASES = Path(__file__).with_name("alerts.promtool.yaml")
RUNBOOK = ROOT / "docs" / "runbook.md"


def series_of(module: ModuleType) -> Iterator[tuple[str, set[str]]]:
    """Each time series that a component exposes, with the names of its labels."""
    for metric in vars(module).values():
        if isinstance(metric, MetricWrapperBase | Tally | Durations):
            [described] = metric.describe()
            for suffix in SUFFIXES[described.type]:
                yield described.name + suffix, labels_of(metric)


def labels_of(metric: MetricWrapperBase | Tally | Durations) -> set[str]:
    """The names of a metric's labels."""
    if isinstance(metric, Durations):
        return set()
    return set(metric.labels if isinstance(metric, Tally) else metric._labelnames)


DECLARED = {name: labels for module in METRICS for name, labels in series_of(module)}


def rule_groups(*arguments: str) -> Manifest:
    """The rules as Prometheus reads them."""
    spec: Manifest = of_kind("PrometheusRule", render(*ON, *arguments))["argus"]["spec"]
    return spec


def rules(*arguments: str) -> dict[str, Any]:
    """Every alert by name."""
    found = [rule for group in rule_groups(*arguments)["groups"] for rule in group["rules"]]
    named = {rule["alert"]: rule for rule in found}
    assert len(named) == len(found)
    return named


NAMES = re.findall(r"- alert: (\w+)", (CHART / "templates" / "alerts.yaml").read_text())
each_alert = pytest.mark.parametrize("alert", NAMES)


def test_no_alert_is_left_out() -> None:
    assert NAMES
    assert list(rules()) == NAMES


def test_metrics_are_found_in_the_source_of_every_component() -> None:
    for module in METRICS:
        assert any(name in DECLARED for name, _ in series_of(module)), module.__name__
    assert DECLARED["argus_ingest_requests_total"] == {"tenant", "status"}
    assert {f"argus_stream_store_seconds{suffix}" for suffix in SUFFIXES["histogram"]} <= set(
        DECLARED
    )


@each_alert
def test_an_alert_asks_only_for_series_that_are_declared(alert: str) -> None:
    asked = set(re.findall(r"\bargus_\w+", rules()[alert]["expr"]))

    assert asked
    assert asked <= set(DECLARED)


@each_alert
def test_an_alert_uses_only_labels_that_its_series_have(alert: str) -> None:
    expression = rules()[alert]["expr"]
    known = set().union(*(DECLARED[name] for name in re.findall(r"\bargus_\w+", expression)))
    lists = re.findall(r"(?:by|on) \(([^)]*)\)", expression)
    used = {label for found in lists for label in re.split(r",\s*", found)}
    matched = set(re.findall(r"(\w+)(?:=~?|!=|!~)\"", expression))

    assert used | matched <= known


@each_alert
def test_an_alert_says_what_it_is_and_how_grave(alert: str) -> None:
    rule = rules()[alert]

    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert all(rule["annotations"].values())


def anchors(markdown: str) -> set[str]:
    """The anchors of a page's headings, as its readers' software makes them."""
    headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@each_alert
def test_an_alert_has_its_chapter_in_the_runbook(alert: str) -> None:
    page, _, anchor = rules()[alert]["annotations"]["runbook_url"].partition("#")

    assert page == "docs/runbook.md"
    assert anchor == alert.lower()
    assert anchor in anchors(RUNBOOK.read_text())


def test_the_runbook_has_no_chapter_for_an_alert_that_is_gone() -> None:
    chapters = re.findall(r"^#+ (Argus\w+)$", RUNBOOK.read_text(), re.MULTILINE)

    assert sorted(chapters) == sorted(rules())


def test_prometheus_reads_the_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule_groups()))
    (tmp_path / "cases.yaml").write_text(CASES.read_text())

    read = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", f"{tmp_path}/rules.yaml")
    fired = run("promtool", "test", "rules", f"{tmp_path}/cases.yaml")

    assert read.returncode == 0, read.stdout + read.stderr
    assert fired.returncode == 0, fired.stdout + fired.stderr


def test_every_alert_is_seen_to_fire_and_not_to_fire() -> None:
    cases = [
        case
        for group in yaml.safe_load(CASES.read_text())["tests"]
        for case in group["alert_rule_test"]
    ]

    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(rules())
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == set(rules())


def test_without_being_asked_for_nothing_of_them_is_rendered() -> None:
    assert not [found for found in render() if found["apiVersion"].startswith("monitoring.")]


def test_the_monitor_finds_a_service_of_each_process_by_its_port() -> None:
    manifests = render(*ON)
    monitor = of_kind("ServiceMonitor", manifests)["argus"]["spec"]
    [endpoint] = monitor["endpoints"]
    chosen = {
        service["metadata"]["name"]
        for service in of_kind("Service", manifests).values()
        if monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        and endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    }

    assert chosen == {"argus-ingest-ops", "argus-stream-ops", "argus-operator-ops"}
    assert endpoint["honorLabels"] is True


def test_thresholds_and_labels_come_from_the_values() -> None:
    arguments = (
        *("--set", "alerts.thresholds.lagSeconds=7", "--set", "alerts.thresholds.lostFor=3d"),
        *("--set", "alerts.alertLabels.team=data", "--set", "alerts.labels.release=prometheus"),
        *("--set", "alerts.runbookUrl=https://wiki.example/argus"),
    )
    found = rules(*arguments)
    manifests = render(*ON, *arguments)

    assert found["ArgusPipelineLag"]["expr"].endswith("> 7")
    assert "offset 3d" in found["ArgusRecordsLost"]["expr"]
    assert all(rule["labels"]["team"] == "data" for rule in found.values())
    assert all(
        rule["annotations"]["runbook_url"].startswith("https://wiki.example/argus#")
        for rule in found.values()
    )
    for kind in ("PrometheusRule", "ServiceMonitor"):
        assert of_kind(kind, manifests)["argus"]["metadata"]["labels"]["release"] == "prometheus"


def test_an_audit_is_stale_once_a_second_one_is_due() -> None:
    usual = rules()["ArgusAuditStale"]["expr"]
    changed = rules("--set-string", "operator.settings.ARGUS_AUDIT__INTERVAL=86400")

    assert usual.endswith(f"> {2 * AuditSettings().interval:.0f}")
    assert changed["ArgusAuditStale"]["expr"].endswith("> 172800")


@pytest.mark.parametrize(
    "setting",
    ["deniedShare=1.5", "lagSeconds=0", "lostFor=tomorrow", "lostFor=24", "lag=3"],
)
def test_thresholds_that_make_no_sense_are_refused(setting: str) -> None:
    assert "alerts" in refusal("--set", f"alerts.thresholds.{setting}")
