"""The hot path's metrics, as a scrape of them reads."""

import pytest
from argus_ingest.tally import Durations, Tally
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def samples(registry: CollectorRegistry) -> dict[str, float]:
    text = generate_latest(registry).decode()
    return {
        "|".join((sample.name, *sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_a_tally_counts_by_its_labels(registry: CollectorRegistry) -> None:
    tally = Tally("t_requests", "Requests", ["pipeline", "status"], registry)
    tally.add(("a", "202"))
    tally.add(("a", "202"), 4)
    tally.add(("b", "429"))
    assert samples(registry) == {"t_requests_total|a|202": 5, "t_requests_total|b|429": 1}


def test_a_tally_forgets_by_its_first_label(registry: CollectorRegistry) -> None:
    tally = Tally("t_requests", "Requests", ["pipeline", "status"], registry)
    for labels in (("a", "202"), ("a", "429"), ("b", "a")):
        tally.add(labels)
    tally.forget("a")
    assert samples(registry) == {"t_requests_total|b|a": 1}


def test_durations_read_as_prometheus_clients_own_histogram(registry: CollectorRegistry) -> None:
    bounds = (0.001, 0.5, 2.0)
    ours = Durations("t_seconds", "Seconds", bounds, registry)
    own_registry = CollectorRegistry()
    theirs = Histogram("t_seconds", "Seconds", buckets=bounds, registry=own_registry)
    for seconds in (0.0, 0.001, 0.0011, 0.5, 1.0, 2.0, 2.1, 60.0):
        ours.add(seconds)
        theirs.observe(seconds)
    assert samples(registry) == samples(own_registry)
    assert samples(registry)["t_seconds_count"] == 8


def test_a_name_is_taken_once(registry: CollectorRegistry) -> None:
    Tally("t_requests", "Requests", ["tenant"], registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Tally("t_requests", "Requests", ["tenant"], registry)
