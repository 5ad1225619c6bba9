"""examples/ shows every field of a spec; each file explains itself and is in the documentation."""

import re
from pathlib import Path

import pytest
from argus_operator.models import common
from argus_operator.models.common import Model
from argus_operator.models.pipeline import PipelineSpec
from argus_operator.models.replay import ReplaySpec
from argus_operator.models.tenant import TenantSpec

from hack import resources
from tests import examples, fields

ROOT = Path(__file__).parents[3]
MODELS: dict[str, type[Model]] = {
    "ArgusTenant": TenantSpec,
    "ArgusPipeline": PipelineSpec,
    "ArgusReplay": ReplaySpec,
}
"""Equal to the CRDs by tests/unit/operator/test_models.py, and refusing what they do not know."""
NOT_SHOWN_YET = {
    ".databaseLogin",
    ".storage.compressAfter",
    "argus.dev/adopt",
}
"""Fields and annotations that have no effect yet; what gets one is shown, and goes from here."""


@pytest.mark.parametrize("file", examples.FILES)
def test_an_example_is_valid(file: str) -> None:
    found = examples.load(file).resources

    assert found
    for resource in found:
        MODELS[resource["kind"]].model_validate(resource["spec"])


@pytest.mark.parametrize("file", examples.FILES)
def test_an_example_explains_itself_and_says_what_it_comes_to(file: str) -> None:
    example = examples.load(file)
    named = {(found["kind"].lower(), found["metadata"]["name"]) for found in example.resources}

    assert all(line.startswith("#") for line in example.header.splitlines())
    assert len(example.header.splitlines()[0]) > len("# A few words")
    assert re.search(
        rf"kubectl (apply|create) -f examples/{re.escape(file)}$", example.header, re.M
    )
    assert example.header.count("# expect:") == len(example.expectations) > 0
    assert {(e.kind, e.name) for e in example.expectations} <= named
    assert set(example.needs) <= set(examples.FILES)


@pytest.mark.parametrize("file", examples.FILES)
def test_an_example_stands_in_a_namespace_of_its_own(file: str) -> None:
    example = examples.load(file)
    (namespace,) = {found["metadata"]["namespace"] for found in example.resources}
    givers = [
        other
        for other in examples.FILES
        for found in examples.load(other).objects
        if found["kind"] == "Namespace" and found["metadata"]["name"] == namespace
    ]

    assert givers == [*(example.needs or (file,))]


@pytest.mark.parametrize("kind", MODELS)
def test_every_field_of_a_spec_is_in_an_example(kind: str) -> None:
    everything = [found for file in examples.FILES for found in examples.load(file).resources]
    specs = [found["spec"] for found in everything if found["kind"] == kind]
    shown = {path for spec in specs for path, _ in fields.values(spec)}
    schema = resources.kinds()[kind]["properties"]["spec"]

    assert set(fields.leaves(schema)) - NOT_SHOWN_YET == shown


def test_every_annotation_is_in_an_example_and_explained() -> None:
    words = (value for value in vars(common).values() if isinstance(value, str))
    annotations = {word for word in words if word.startswith(f"{common.GROUP}/")}
    annotations.remove(common.FINALIZER)
    everything = "".join(examples.load(file).text for file in examples.FILES)
    page = (ROOT / "docs" / "resources.md").read_text()

    assert annotations >= {"argus.dev/paused", "argus.dev/rotate", "argus.dev/revoke"}
    annotations -= NOT_SHOWN_YET
    assert {word for word in annotations if word not in everything or word not in page} == set()


def test_the_documentation_lists_each_example() -> None:
    text = (ROOT / "docs" / "README.md").read_text()
    linked = re.findall(r"\]\(\.\./examples/([\w.-]+)\)", text)

    assert sorted(linked) == examples.FILES


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_no_page_names_an_example_that_is_not_there(page: Path) -> None:
    assert set(re.findall(r"examples/([\w-]+\.yaml)", page.read_text())) <= set(examples.FILES)
