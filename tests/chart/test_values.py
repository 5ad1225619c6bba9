"""Values that cannot work are refused before anything is installed, with words that name them."""

import re

import pytest

from tests.chart.helm import CHART, ROOT, refusal, render, run

REFUSED = {
    "a misspelt key": ("ingest.replica=3", r"ingest.*replica"),
    "a misspelt key at the top": ("ingress.enabled=true", r"ingress"),
    "replicas that are no number": ("ingest.replicas=two", r"ingest.replicas.*integer"),
    "an unknown service type": ("ingest.service.type=Ingress", r"ingest.service.type"),
    "a node port for a ClusterIP": ("ingest.service.nodePort=30080", r"ingest.service.nodePort"),
    "a node port out of range": ("engines.kafka.external.nodePort=9094", r"external.nodePort"),
    "a proxy that is no network": ("ingest.trustedProxies[0]=10.0.0.1", r"ingest.trustedProxies"),
    "an unknown log level": ("log.level=TRACE", r"log.level"),
    "an unknown security": ("kafka.security=tls", r"kafka.security"),
    "brokers without a port": ("kafka.bootstrap=kafka", r"kafka.bootstrap"),
    "no brokers": ("kafka.bootstrap=", r"kafka.bootstrap"),
    "SASL without credentials": ("kafka.existingSecret=", r"kafka.existingSecret"),
    "a password in the URL": ("redis.url=redis://:secret@redis:6379/0", r"redis.url"),
    "a database without credentials": ("database.existingSecret=", r"database.existingSecret"),
    "TLS that falls back to clear text": ("database.tls=prefer", r"database.tls"),
    "a size that is no whole number": ("engines.kafka.storage.size=1.5Gi", r"kafka.storage.size"),
    "a setting of another program": (
        "stream.settings.PYTHONPATH=x",
        r"stream.settings.*PYTHONPATH",
    ),
    "a setting that has a value of its own": (
        "settings.ARGUS_KAFKA__BOOTSTRAP=kafka:9092",
        r"ARGUS_KAFKA__BOOTSTRAP comes from a value",
    ),
    "a password in clear": (
        "stream.settings.ARGUS_DATABASE__PASSWORD=secret",
        r"ARGUS_DATABASE__PASSWORD comes from",
    ),
    "a limit on CPU that is nonsense": ("stream.resources.limits.cpu=fast", r"stream.resources"),
    "no request for memory": ("stream.resources.requests.memory=null", r"stream.resources.*memory"),
    "an image without a tag": ("images.app=argus/app", r"images.app"),
    "a tier's burst below one batch": ("tiers.small.perKey.burst=100", r"tiers.small.*burst"),
    "a tier without a limit by address": ("tiers.standard.perIP=null", r"tiers.standard.*perIP"),
    "a tier whose name no tenant can have": ("tiers.Gold.limitServerKeysByIP=true", r"tiers.*Gold"),
    "no tier": ("tiers=null", r"tiers"),
    "a quota below one batch": ("tiers.standard.quota.daily=4999", r"tiers.standard.quota.daily"),
    "a quota of a span that is none": ("tiers.standard.quota.hourly=5000", r"quota.*hourly"),
    "a tier for no request": ("tiers.standard.concurrency=0", r"tiers.standard.concurrency"),
    "an unknown mode": ("tiers.standard.mode=off", r"tiers.standard.mode"),
    "more in-sync replicas than there are": ("kafka.minInsync=4", r"kafka.minInsync is 4"),
}


@pytest.mark.parametrize(("setting", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_values_that_cannot_work_are_refused(setting: str, words: str) -> None:
    said = re.sub(r"\s+", " ", refusal("--set", setting).replace("/", "."))

    assert re.search(words, said), said


def test_a_tier_of_release_0_1_0_is_taken() -> None:
    """`--reuse-values` brings it: without quota, concurrency and mode."""
    bare = [f"tiers.standard.{name}=null" for name in ("quota", "concurrency", "mode")]

    assert render("--set", ",".join(bare))


def test_a_tier_may_have_quotas_concurrency_and_a_mode() -> None:
    given = ("quota.daily=5000", "quota.monthly=1000000000000", "concurrency=1", "mode=observe")

    assert render("--set", ",".join(f"tiers.standard.{setting}" for setting in given))


def test_engines_of_ones_own_need_no_addresses() -> None:
    assert render("--set", "engines.enabled=true")


def test_versions_are_told_alike_everywhere() -> None:
    chart = (CHART / "Chart.yaml").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert version

    assert f"\nversion: {version[1]}\n" in chart
    assert f"\nappVersion: {version[1]}\n" in chart


def test_built_and_pulled_engines_are_of_the_same_versions() -> None:
    """The chart's default images against the versions that hack/ builds."""
    script = (
        f'source "{ROOT}/hack/lib.sh" && echo "$KAFKA_VERSION $VALKEY_VERSION $TIMESCALEDB_VERSION"'
    )
    kafka, valkey, timescaledb = run("bash", "-c", script).stdout.split()
    series, postgres = timescaledb.split("-")
    images = (CHART / "values.yaml").read_text()

    assert re.search(rf"^  kafka: apache/kafka:{re.escape(kafka)}$", images, re.MULTILINE)
    assert re.search(rf"^  valkey: valkey/valkey:{re.escape(valkey)}\b", images, re.MULTILINE)
    assert re.search(
        rf"^  postgres: timescale/timescaledb:{re.escape(series)}\.\d+-{postgres}-oss$",
        images,
        re.MULTILINE,
    )


def test_the_suites_of_helm_unittest_pass() -> None:
    done = run("helm-unittest", "--strict", str(CHART))

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Tests:\s+[1-9]\d* passed", done.stdout), done.stdout
