"""The custom resource definitions have one source, crds/, and the chart carries it whole."""

import tarfile
from pathlib import Path

import pytest
import yaml

from tests.chart.helm import CHART, KUBERNETES, PROFILES, ROOT, of_kind, render, run, text

KEEP = "helm.sh/resource-policy"
SOURCES = {
    found["metadata"]["name"]: found
    for found in (yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml"))
}


def test_there_are_definitions_to_render() -> None:
    assert set(SOURCES) == {
        "argustenants.argus.dev",
        "arguspipelines.argus.dev",
        "argusreplays.argus.dev",
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_they_are_rendered_as_they_are_and_kept_on_uninstall(profile: str) -> None:
    rendered = of_kind("CustomResourceDefinition", render(*PROFILES[profile]))

    assert set(rendered) == set(SOURCES)
    for name, found in rendered.items():
        assert found["metadata"].pop("annotations") == {KEEP: "keep"}
        assert found == SOURCES[name]


def test_they_can_be_left_out_or_given_up() -> None:
    left_out = render("--set", "crds.install=false")
    given_up = of_kind("CustomResourceDefinition", render("--set", "crds.keep=false"))

    assert not of_kind("CustomResourceDefinition", left_out)
    assert set(given_up) == set(SOURCES)
    assert all("annotations" not in found["metadata"] for found in given_up.values())


def test_the_packaged_chart_carries_them_and_renders_the_same(tmp_path: Path) -> None:
    done = run("helm", "package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = archive.getnames()
    where = ("--namespace", "argus", "--kube-version", KUBERNETES)
    rendered = run("helm", "template", "argus", str(package), *where)

    kinds = {"argustenants", "arguspipelines", "argusreplays"}
    assert {f"argus/files/crds/{kind}.yaml" for kind in kinds} <= set(names)
    assert not [name for name in names if name.startswith("argus/tests/")]
    assert rendered.stdout == text()
