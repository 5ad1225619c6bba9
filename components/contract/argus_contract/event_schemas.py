"""JSON Schemas of events: whether one can be applied, and what it says of an event's properties.

A tenant writes the schema and its clients what it meets, so neither may cost without bound or lead
anywhere: no reference leaves the schema or comes back to itself, what it unfolds to is counted, and
patterns are matched in linear time. Pure: nothing is ever fetched (ADR 0016).
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import jsonschema_rs
import msgspec
from jsonschema_rs import (
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    ReferencingError,
    RegexOptions,
    ValidationError,
    ValidationErrorKind,
)

from argus_contract.events import ABSENT
from argus_contract.registry import Validation
from argus_contract.sizes import KIB

MAX_SCHEMA: Final = 16 * KIB
"""Largest schema, as canonical JSON."""
MAX_SCHEMAS: Final = 128 * KIB
"""Most that the schemas of one pipeline may add up to."""
MAX_DEPTH: Final = 64
"""Deepest nesting of a schema, what it refers to in the place of each reference."""
MAX_PLACES: Final = 4_000
"""Most values that a schema may hold, counted likewise: what one value of an event may be held
against."""
MAX_MESSAGE: Final = 500
"""Longest explanation, in characters."""

_DRAFTS: Final = {
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
    "https://json-schema.org/draft/2019-09/schema": Draft201909Validator,
    "http://json-schema.org/draft-07/schema": Draft7Validator,
}
_DEFAULT: Final = "https://json-schema.org/draft/2020-12/schema"
_PATTERNS: Final = RegexOptions(size_limit=512 * KIB, dfa_size_limit=1024 * KIB)
"""The engine that does not backtrack; the limit bounds its steps for each character."""
_MOVING: Final = ("$dynamicRef", "$recursiveRef")
_MASK: Final = "it"
"""Stands for what the client sent, which is no part of an error."""
_TYPES: Final = "null, boolean, object, array, number, integer, string"
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

canonical: Final = msgspec.json.Encoder(order="deterministic").encode
"""A schema as the registry holds it: equal schemas are equal bytes. Raises UnicodeEncodeError for
half of a surrogate pair, RecursionError for what is nested too deep."""


class _UnfitError(Exception):
    """Why a schema cannot be applied, and where in it."""

    def __init__(self, path: Sequence[str | int], message: str) -> None:
        super().__init__(message)
        self.text = f"{pointer(path)}: {message}"[:MAX_MESSAGE]


def pointer(path: Sequence[str | int]) -> str:
    """A path as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def fault(schema: Mapping[str, Any]) -> str | None:
    """Why a schema cannot be applied, None where it can: `/properties/age/type: …`."""
    try:
        text = canonical(schema)
    except (UnicodeEncodeError, RecursionError) as error:
        return f": {'nested too deep' if isinstance(error, RecursionError) else 'no Unicode'}"
    if len(text) > MAX_SCHEMA:
        return f": {len(text):,} bytes of JSON, the most are {MAX_SCHEMA:,}"
    return _fault(text)


@lru_cache(maxsize=4_096)
def _fault(text: bytes) -> str | None:
    try:
        schema = msgspec.json.decode(text)
        _Unfolding(schema).visit(schema, ())
        _compile(schema, None)
    except _UNREADABLE as error:
        return f": {error}"
    except _UnfitError as error:
        return error.text
    except ValidationError as error:
        return _UnfitError(error.instance_path, _explain(error)).text
    except (ReferencingError, ValueError) as error:
        return f": {error}"[:MAX_MESSAGE]
    return None


def _explain(error: ValidationError) -> str:
    """What is wrong with a schema, where its own meta-schema says it less clearly."""
    match error.kind:
        case ValidationErrorKind.Format(format="regex"):
            return (
                f"{error.instance!r} is no pattern that can be matched in linear time: there is no "
                "look-around and no back-reference, and repetitions must not add up to much"
            )
        case ValidationErrorKind.AnyOf() if error.instance_path[-1:] == ["type"]:
            return f"{error.instance!r} is none of {_TYPES}"
        case _:
            return error.message


class _Unfolding:
    """Goes through a schema with what it refers to in the place of each reference, and counts.

    Members of an `enum` and the like are gone through as if they were schemas, so that whatever the
    validator takes for one was seen: what merely looks like a reference is refused too.
    """

    def __init__(self, schema: object) -> None:
        self._schema = schema
        self._places = 0

    def visit(self, node: object, path: tuple[str | int, ...], depth: int = 0) -> None:
        """Raises _UnfitError where a schema does not keep within its bounds."""
        self._places += 1
        if self._places > MAX_PLACES:
            raise _UnfitError((), f"it unfolds to more than {MAX_PLACES:,} values")
        if depth > MAX_DEPTH:
            raise _UnfitError(path, f"deeper than {MAX_DEPTH} levels, or a $ref to itself")
        if isinstance(node, dict):
            _check_names(node, path)
            self._follow(node.get("$ref"), path, depth)
            for name, inner in node.items():
                self.visit(inner, (*path, name), depth + 1)
        elif isinstance(node, list):
            for index, inner in enumerate(node):
                self.visit(inner, (*path, index), depth + 1)

    def _follow(self, reference: object, path: tuple[str | int, ...], depth: int) -> None:
        if not isinstance(reference, str):
            return
        if not reference.startswith("#/"):
            raise _UnfitError((*path, "$ref"), "must begin with #/: nothing is fetched")
        place = tuple(map(_part, reference[2:].split("/")))
        try:
            target = _at(self._schema, place)
        except (KeyError, IndexError, ValueError):
            raise _UnfitError((*path, "$ref"), f"there is no {reference}") from None
        self.visit(target, place, depth + 1)


def _check_names(node: Mapping[str, object], path: tuple[str | int, ...]) -> None:
    """Raises _UnfitError for names by which a reference would mean another place than it says."""
    for name in _MOVING:
        if isinstance(node.get(name), str):
            raise _UnfitError((*path, name), "is not supported: use $ref")
    if path and isinstance(node.get("$id"), str):
        raise _UnfitError((*path, "$id"), "is not supported inside of a schema")
    if not path and _draft(node) not in _DRAFTS:
        raise _UnfitError(("$schema",), f"must be absent or one of {', '.join(_DRAFTS)}")


def _draft(schema: Mapping[str, object]) -> str:
    return str(schema.get("$schema", _DEFAULT)).removesuffix("#")


def _part(text: str) -> str:
    return unquote(text).replace("~1", "/").replace("~0", "~")


def _at(node: Any, place: Sequence[str]) -> Any:
    for part in place:
        node = node[int(part)] if isinstance(node, list) else _member(node, part)
    return node


def _member(node: object, name: str) -> object:
    if not isinstance(node, dict):
        raise KeyError(name)
    return node[name]


def _compile(schema: dict[str, Any], mask: str | None) -> jsonschema_rs.Validator:
    """Raises ValueError, of which ValidationError is one, or ReferencingError."""
    return _DRAFTS[_draft(schema)](
        {name: value for name, value in schema.items() if name != "$id"},
        mask=mask,
        pattern_options=_PATTERNS,
        validate_formats=True,
        offline=True,
    )


class Validators:
    """The schemas of one pipeline, compiled."""

    def __init__(self, validation: Validation) -> None:
        self.validation = validation
        self.broken: dict[str, str] = {}
        """By event: why its schema judges nothing. Another release of the operator took it."""
        self._by_event: dict[str, jsonschema_rs.Validator] = {}
        for item in validation.schemas:
            try:
                self._by_event[item.event] = _compile(msgspec.json.decode(item.schema), _MASK)
            except (*_UNREADABLE, ReferencingError, ValueError, KeyError, AttributeError) as error:
                self.broken[item.event] = repr(error)[:MAX_MESSAGE]

    @property
    def enforce(self) -> bool:
        """Whether an event that does not fit is refused."""
        return self.validation.enforce

    def mismatch(self, event: str, properties: msgspec.Raw) -> str | None:
        """How an event's properties do not fit, `/properties/age: …`; None where they do.

        Absent ones are an empty object. A number beyond double precision fits nothing, for it
        cannot be compared.
        """
        validator = self._by_event.get(event)
        if validator is None:
            return None
        try:
            found = msgspec.json.decode(properties) if properties != ABSENT else None
        except _UNREADABLE as error:
            return f"/properties: {str(error).partition(' - ')[0].lower()}"
        found = {} if found is None else found
        return None if validator.is_valid(found) else _first_error(validator, found)


def _first_error(validator: jsonschema_rs.Validator, found: object) -> str | None:
    try:
        validator.validate(found)
    except ValidationError as error:
        return f"{pointer(['properties', *error.instance_path])}: {error.message}"[:MAX_MESSAGE]
    return None
