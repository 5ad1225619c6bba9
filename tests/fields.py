"""Paths of the fields of a resource, in a schema and in an object, the same way."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

FREE_FORM: Final = {".validation.schemas[].jsonSchema"}
"""Fields that hold one value, whatever is in it."""


def leaves(schema: Schema, path: str = "") -> Iterator[str]:
    """Paths of a schema's fields that hold a value, lists with `[]`."""
    if properties := schema.get("properties"):
        for name, inner in properties.items():
            yield from leaves(inner, f"{path}.{name}")
    elif "items" in schema:
        yield from leaves(schema["items"], f"{path}[]")
    else:
        yield path


def values(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The same paths of an object, each as often as it holds a value, with that."""
    if isinstance(value, dict) and path not in FREE_FORM:
        for name, inner in value.items():
            yield from values(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from values(inner, f"{path}[]")
    else:
        yield path, value
