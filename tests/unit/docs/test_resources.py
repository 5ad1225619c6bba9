"""docs/resources.md tells every field of the resources, as the CRDs have them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack import resources

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "resources.md").read_text()
KINDS = resources.kinds()
PARTS = [(kind, part) for kind in KINDS for part in ("spec", "status")]

Schema = dict[str, Any]


def described(schema: Schema, path: str) -> Iterator[tuple[str, str]]:
    """Path and description of each field below a schema, lists with `[]`."""
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}{name}", inner.get("description", "")
        yield from described(inner, f"{path}{name}.")
        yield from described(inner.get("items", {}), f"{path}{name}[].")


def part_of(kind: str, part: str) -> Schema:
    found: Schema = KINDS[kind]["properties"][part]
    return found


def rows(kind: str, part: str) -> dict[str, list[str]]:
    """The cells of the page's table by field."""
    (block,) = (
        found.group(0)
        for found in resources.BLOCK.finditer(PAGE)
        if found.group(2, 3) == (kind, part)
    )
    lines = (re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines() if line[:2] == "| ")
    cells = [[cell.strip() for cell in line] for line in lines]
    return {line[0].strip("`"): line for line in cells[2:]}


def messages(schema: Any) -> Iterator[str]:
    """What every rule in a schema says, wherever it stands."""
    if isinstance(schema, dict):
        yield from (rule["message"] for rule in schema.get("x-kubernetes-validations", ()))
        schema = list(schema.values())
    if isinstance(schema, list):
        for inner in schema:
            yield from messages(inner)


def test_the_page_is_what_the_generator_makes_of_the_definitions() -> None:
    assert resources.render(PAGE, KINDS) == PAGE


def test_there_is_a_table_for_each_definition() -> None:
    files = (yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml"))

    assert {file["spec"]["names"]["kind"] for file in files} == set(KINDS)
    assert len(PARTS) == 6


@pytest.mark.parametrize(("kind", "part"), PARTS)
def test_every_field_is_described_and_on_the_page(kind: str, part: str) -> None:
    table = rows(kind, part)
    fields = dict(described(part_of(kind, part), ""))

    assert fields
    assert [path for path, text in fields.items() if not text.endswith(".")] == []
    assert {path: text for path, text in fields.items() if text not in table[path][-1]} == {}
    assert set(table) - set(fields) == ({"metadata", "spec"} if part == "spec" else {"status"})


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_is_told(kind: str) -> None:
    told = " ".join(
        cell for part in ("spec", "status") for row in rows(kind, part).values() for cell in row
    )
    rules = list(messages(KINDS[kind]))

    assert rules
    assert [rule for rule in rules if f"*{rule}*" not in told] == []


def test_a_field_has_its_type_bounds_default_and_rules() -> None:
    partitions = rows("ArgusPipeline", "spec")["topic.partitions"]
    key = rows("ArgusTenant", "spec")["apiKeys[].name"]

    assert partitions[1:3] == ["integer, 1 to 64", "`1`"]
    assert partitions[3].endswith("*partitions can only grow, because Kafka cannot remove one*")
    assert key[1:3] == ["DNS label, up to 40 characters", "required"]


def schema_of(**spec: Any) -> dict[str, resources.Schema]:
    part = {"type": "object", "description": "All.", **spec}
    return {"Thing": {"type": "object", "properties": {"spec": part, "status": part}}}


def marked(text: str = "") -> str:
    return "".join(
        f"by hand\n<!-- fields of Thing.{part}, from crds/ by hack/resources.py -->\n"
        f"{text}<!-- end of fields -->\n"
        for part in ("spec", "status")
    )


def test_what_stands_outside_the_markers_stays() -> None:
    schemas = schema_of(properties={"a": {"type": "string", "description": "One | two."}})
    made = resources.render(marked("| out of date |\n"), schemas)

    assert made.count("by hand\n") == 2
    assert "out of date" not in made
    assert "| `a` | string |  | One \\| two. |\n" in made
    assert resources.render(made, schemas) == made


def test_a_page_without_a_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="markers"):
        resources.render("by hand\n", schema_of())


def test_a_rule_about_no_field_is_refused() -> None:
    rule = {"rule": "true", "message": "no", "fieldPath": ".gone"}
    with pytest.raises(ValueError, match="about no field: gone"):
        resources.render(marked(), schema_of(**{"x-kubernetes-validations": [rule]}))


def test_check_finds_a_page_that_is_out_of_date_and_leaves_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page = tmp_path / "resources.md"
    page.write_text(PAGE.replace("Events per second, sustained.", "Something else."))
    before = page.read_text()
    monkeypatch.setattr(resources, "PAGE", page)
    monkeypatch.setattr("sys.argv", ["resources.py", "--check"])
    assert resources.main() == 1
    assert page.read_text() == before

    monkeypatch.setattr("sys.argv", ["resources.py"])
    assert resources.main() == 0
    assert page.read_text() == PAGE
    monkeypatch.setattr("sys.argv", ["resources.py", "--check"])
    assert resources.main() == 0
