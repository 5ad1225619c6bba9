#!/usr/bin/env python3
"""Write the tables of fields in docs/resources.md from crds/.

What a field means, its default and its bounds have one home, the CRDs that the API server enforces.
The page has a table of them between two markers for each spec and status; all else on it is written
by hand and stays as it is.

Usage: hack/resources.py [--check]; with --check nothing is written, and a page that is out of date
is an error.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
CRDS: Final = ROOT / "crds"
PAGE: Final = ROOT / "docs" / "resources.md"
BLOCK: Final = re.compile(
    r"(<!-- fields of (\w+)\.(spec|status), from crds/ by hack/resources\.py -->\n)"
    r".*?"
    r"(<!-- end of fields -->)",
    re.DOTALL,
)
LABEL: Final = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
PATTERNS: Final = {
    LABEL: "DNS label",
    "^[1-9][0-9]{0,4}[mhd]$": "duration",
    "^[1-9][0-9]{0,14}(Ki|Mi|Gi|Ti)?$": "size",
    "^[a-zA-Z0-9._-]{1,249}$": "topic name",
}
"""What the patterns that fields share are called on the page."""

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """A row of a table; `rules` are what the API server answers where one is broken."""

    path: str
    type: str
    default: str
    meaning: str
    rules: tuple[str, ...]


def kinds() -> dict[str, Schema]:
    """The schemas in crds/ by kind."""
    found = {}
    for file in sorted(CRDS.glob("*.yaml")):
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
        (version,) = spec["versions"]
        found[spec["names"]["kind"]] = version["schema"]["openAPIV3Schema"]
    return found


def fields(root: Schema, part: str) -> list[Field]:
    """The rows for `spec` or `status` of a kind, in the order of the CRD.

    The part itself comes first, and before a spec `metadata`, which has rules only. Raises
    ValueError for a rule that is about none of them.
    """
    schema = root["properties"][part]
    rules = dict(_rules(schema, ""))
    whole = rules.pop("", ())
    required = part in root.get("required", ()) and "default" not in schema
    top = [Field(part, "object", "required" * required, schema["description"], whole)]
    if part == "spec":
        named = dict(_rules({**root, "properties": {}}, "")).get("metadata", ())
        top.insert(0, Field("metadata", "object", "required", "Its name and namespace.", named))
    rows = list(_fields(schema, "", rules, bounds=part == "spec"))
    if lost := set(rules) - {row.path for row in rows}:
        raise ValueError(f"rules of {part} about no field: {', '.join(sorted(lost))}")
    return [*top, *rows]


def _fields(
    schema: Schema, prefix: str, rules: Mapping[str, tuple[str, ...]], *, bounds: bool
) -> Iterator[Field]:
    for name, inner in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield Field(
            path,
            _type(inner, bounds),
            _default(inner, required=name in schema.get("required", ())),
            inner.get("description", ""),
            rules.get(path, ()),
        )
        yield from _fields(inner, f"{path}.", rules, bounds=bounds)
        yield from _fields(inner.get("items", {}), f"{path}[].", rules, bounds=bounds)


def _rules(schema: Schema, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The messages of all rules in a schema, by the path of the field that each names."""
    found: dict[str, tuple[str, ...]] = {}
    for rule in schema.get("x-kubernetes-validations", ()):
        about = (path + rule.get("fieldPath", "")).lstrip(".")
        found[about] = (*found.get(about, ()), rule["message"])
    for name, inner in schema.get("properties", {}).items():
        for about, messages in _rules(inner, f"{path}.{name}"):
            found[about] = (*found.get(about, ()), *messages)
    if "items" in schema:
        for about, messages in _rules(schema["items"], f"{path}[]"):
            list_of = about.removesuffix("[]")
            found[list_of] = (*found.get(list_of, ()), *messages)
    yield from found.items()


def _default(schema: Schema, *, required: bool) -> str:
    if "default" in schema:
        return "" if schema["default"] in ({}, []) else f"`{_shown(schema['default'])}`"
    return "required" if required else ""


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1_000)
    return text.removesuffix("...\n").strip()


def _type(schema: Schema, bounds: bool) -> str:
    """A type in words, with its bounds where a person has to keep them."""
    limits = _limits(schema) if bounds else ""
    if schema.get("type") == "array":
        return f"list of {_items(schema, bounds)}{limits}"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "object of any form"
    if "enum" in schema:
        *most, last = (f"`{_shown(value)}`" for value in schema["enum"])
        return f"{', '.join(most)} or {last}"
    if schema.get("format") == "date-time":
        return "time, RFC 3339"
    pattern = schema.get("pattern", "")
    if pattern in PATTERNS:
        return PATTERNS[pattern] + (limits if pattern == LABEL else "")
    return f"{schema['type']}{f' `{pattern}`' if pattern and bounds else ''}{limits}"


def _items(schema: Schema, bounds: bool) -> str:
    items = schema["items"]
    if items["type"] == "object":
        return f"objects, by `{schema['x-kubernetes-list-map-keys'][0]}`"
    return "strings" if items["type"] == "string" and "enum" not in items else _type(items, bounds)


def _limits(schema: Schema) -> str:
    spans = (("minItems", "maxItems", ""), ("minimum", "maximum", ""))
    lengths = (("minLength", "maxLength", " characters"),)
    return "".join(_span(schema, *names) for names in (*spans, *lengths))


def _span(schema: Schema, least: str, most: str, unit: str) -> str:
    if least in schema and most in schema:
        return f", {schema[least]:,} to {schema[most]:,}{unit}"
    if most in schema:
        return f", up to {schema[most]:,}{unit}"
    return f", at least {schema[least]:,}{unit}" if least in schema else ""


def table(rows: Sequence[Field], part: str) -> str:
    """The rows as Markdown; a status has no defaults."""
    head = ["field", "type", *(["default"] if part == "spec" else []), "meaning"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        meaning = " ".join([row.meaning, *(f"*{rule}*" for rule in row.rules)])
        default = [row.default] if part == "spec" else []
        lines.append([f"`{row.path}`", row.type, *default, meaning])
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").strip()


def render(page: str, schemas: Mapping[str, Schema]) -> str:
    """The page with its tables as the schemas have them.

    Raises ValueError where the page has not one pair of markers for each spec and status.
    """
    marked = [(kind, part) for _, kind, part, _ in BLOCK.findall(page)]
    wanted = [(kind, part) for kind in schemas for part in ("spec", "status")]
    if sorted(marked) != sorted(wanted):
        raise ValueError(f"the page has markers for {sorted(marked)}, not for {sorted(wanted)}")

    def fill(found: re.Match[str]) -> str:
        begin, kind, part, end = found.groups()
        return f"{begin}\n{table(fields(schemas[kind], part), part)}\n{end}"

    return BLOCK.sub(fill, page)


def main() -> int:
    """The exit code: 1 for a page that is out of date where it is only checked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    page = PAGE.read_text(encoding="utf-8")
    fresh = render(page, kinds())
    if check and fresh != page:
        print("docs/resources.md is not what crds/ say: run hack/resources.py", file=sys.stderr)
        return 1
    if not check:
        PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
