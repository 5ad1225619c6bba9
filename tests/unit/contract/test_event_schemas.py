"""Which JSON Schemas can be applied, what one says of properties, and that neither costs much."""

import json
import time
from typing import Any

import msgspec
import pytest
from argus_contract.event_schemas import (
    MAX_MESSAGE,
    MAX_PLACES,
    MAX_SCHEMA,
    Validators,
    canonical,
    fault,
    pointer,
)
from argus_contract.registry import EventSchema, Validation
from argus_contract.sizes import MAX_EVENT
from hypothesis import given
from hypothesis import strategies as st

AGE: dict[str, Any] = {
    "type": "object",
    "required": ["age"],
    "properties": {"age": {"type": "integer", "minimum": 0}, "a/b": {"type": "string"}},
    "additionalProperties": False,
}


def validators(schema: dict[str, Any], *, enforce: bool = True) -> Validators:
    text = canonical(schema).decode()
    return Validators(Validation(enforce, (EventSchema("signup", text),)))


def mismatch(schema: dict[str, Any], properties: bytes, event: str = "signup") -> str | None:
    return validators(schema).mismatch(event, msgspec.Raw(properties))


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(levels):
        found = {"not": found}
    return found


def doubling(levels: int) -> dict[str, Any]:
    """A schema of a few hundred bytes that unfolds to 2^levels."""
    defs: dict[str, Any] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{levels}": {}}}


@pytest.mark.parametrize(
    ("schema", "where", "why"),
    [
        ({"type": "strin"}, "/type", "'strin' is none of null, boolean"),
        ({"type": 5}, "/type", "5 is none of"),
        ({"properties": {"age": {"type": "int"}}}, "/properties/age/type", "none of"),
        ({"properties": {"a/b~c": {"type": 1}}}, "/properties/a~1b~0c/type", "none of"),
        ({"properties": []}, "/properties", "object"),
        ({"properties": {"a": 5}}, "/properties/a", "boolean"),
        ({"required": "age"}, "/required", "array"),
        ({"minimum": "0"}, "/minimum", "number"),
        ({"minLength": -1}, "/minLength", "minimum"),
        ({"enum": "a"}, "/enum", "array"),
        ({"items": [{}]}, "/items", "object"),
        ({"allOf": []}, "/allOf", "less than 1 item"),
        ({"pattern": "(a"}, "/pattern", "linear time"),
        ({"pattern": "(?=a)b"}, "/pattern", "look-around"),
        ({"pattern": r"(a)\1"}, "/pattern", "back-reference"),
        ({"pattern": "(a{1000}){1000}"}, "/pattern", "repetitions"),
        ({"patternProperties": {"(?!a)": {}}}, "/patternProperties/(?!a)", "linear time"),
        ({"$ref": "https://example.com/a.json"}, "/$ref", "nothing is fetched"),
        ({"$ref": "file:///etc/passwd"}, "/$ref", "nothing is fetched"),
        ({"not": {"$ref": "other.json#/a"}}, "/not/$ref", "nothing is fetched"),
        ({"$ref": "#a", "$defs": {"b": {"$anchor": "a"}}}, "/$ref", "begin with #/"),
        ({"$ref": "#/$defs/nobody"}, "/$ref", "there is no #/$defs/nobody"),
        ({"allOf": [{"$ref": "#/allOf/7"}]}, "/allOf/0/$ref", "there is no"),
        ({"$ref": "#/title/x", "title": "t"}, "/$ref", "there is no"),
        ({"$ref": "#"}, "/$ref", "begin with #/"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}}, "/$defs/a", "a $ref to itself"),
        (
            {"properties": {"p": {"items": {"$ref": "#/properties/p"}}}},
            "/properties/p/items",
            "to itself",
        ),
        ({"$dynamicRef": "#node"}, "/$dynamicRef", "not supported"),
        ({"$recursiveRef": "#"}, "/$recursiveRef", "not supported"),
        ({"not": {"$id": "https://example.com/inner"}}, "/not/$id", "not supported"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "/$schema", "must be absent or"),
        ({"$schema": "https://example.com/mine"}, "/$schema", "must be absent or"),
        ({"$schema": 7}, "/$schema", "must be absent or"),
        (nested(65), "/not" * 65, "deeper than 64"),
        (nested(MAX_SCHEMA), "", "too deep"),
        (doubling(12), "", f"more than {MAX_PLACES:,} values"),
        ({"enum": ["x" * MAX_SCHEMA]}, "", "the most are 16,384"),
        ({"title": "\ud800"}, "", "no Unicode"),
    ],
)
def test_what_cannot_be_applied_is_told_with_its_place(
    schema: dict[str, Any], where: str, why: str
) -> None:
    found = fault(schema)

    assert found is not None
    assert found.startswith(f"{where}: ")
    assert why in found


@pytest.mark.parametrize(
    "schema",
    [
        {},
        AGE,
        {"$id": "https://example.com/signup", "$schema": "http://json-schema.org/draft-07/schema#"},
        {"$schema": "https://json-schema.org/draft/2019-09/schema", "$defs": {"a": {}}},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "prefixItems": [{}]},
        {"properties": {"a": {"$ref": "#/$defs/a~1b%20c"}}, "$defs": {"a/b c": {"type": "null"}}},
        {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}},
        {"properties": {"mail": {"format": "email"}, "n": {"format": "int64"}}},
        {"pattern": r"^\w{1,64}$"},
        doubling(6),
        nested(60),
    ],
)
def test_what_can_be_applied(schema: dict[str, Any]) -> None:
    assert fault(schema) is None
    assert validators(schema).broken == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
keywords = st.sampled_from(
    [
        *("type", "properties", "items", "allOf", "anyOf", "not", "if", "then", "else", "contains"),
        *("$ref", "$id", "$schema", "$defs", "$anchor", "$dynamicRef", "pattern", "format"),
        *("enum", "const", "minimum", "multipleOf", "required", "minLength", "uniqueItems"),
    ]
)
references = st.sampled_from(["#", "#/", "#/not", "#/$defs/a", "#/allOf/0", "a", "#/%zz", "(", "."])
schemas = st.recursive(
    st.dictionaries(keywords, json_values | references, max_size=3),
    lambda inner: st.dictionaries(
        keywords,
        inner | st.lists(inner, max_size=2) | st.dictionaries(st.just("a"), inner) | references,
        max_size=3,
    ),
    max_leaves=8,
)


@given(schemas, json_values)
def test_no_schema_raises_and_one_that_can_be_applied_judges_anything(
    schema: dict[str, Any], properties: object
) -> None:
    found = fault(schema)
    if found is None:
        made = validators(schema)
        said = made.mismatch("signup", msgspec.Raw(json.dumps(properties).encode()))
        assert not made.broken
        assert said is None or said.startswith("/properties")
    else:
        assert found.startswith((":", "/"))
        assert len(found) <= MAX_MESSAGE


@given(schemas)
def test_equal_schemas_are_equal_texts(schema: dict[str, Any]) -> None:
    turned = dict(reversed(schema.items()))
    assert canonical(schema) == canonical(turned)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        (b'{"age":3}', None),
        (b'{"age":3.0}', None),
        (b'{"age":"secret"}', '/properties/age: it is not of type "integer"'),
        (b'{"age":-1}', "/properties/age: it is less than the minimum of 0"),
        (b'{"age":1,"a/b":2}', '/properties/a~1b: it is not of type "string"'),
        (b"{}", '/properties: "age" is a required property'),
        (b"", '/properties: "age" is a required property'),
        (b"null", '/properties: "age" is a required property'),
        (b"[]", '/properties: it is not of type "object"'),
        (b'{"age":1e400}', "/properties: number out of range"),
        (b'{"age":%s}' % (b"9" * 5_000), "/properties: integer value out of range"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place_and_without_its_value(
    properties: bytes, said: str | None
) -> None:
    assert mismatch(AGE, properties) == said


def test_an_event_of_another_name_always_fits() -> None:
    assert mismatch(AGE, b"{}", event="login") is None


def test_an_explanation_is_cut() -> None:
    said = mismatch({"required": ["x" * 5_000]}, b"{}")

    assert said is not None
    assert len(said) == MAX_MESSAGE


def test_a_format_is_checked_and_an_unknown_one_is_not() -> None:
    schema = {"properties": {"at": {"format": "date-time"}, "n": {"format": "int64"}}}

    assert mismatch(schema, b'{"at":"2026-05-01T12:00:00Z","n":"x"}') is None
    assert mismatch(schema, b'{"at":"yesterday"}') == '/properties/at: it is not a "date-time"'


def test_a_schema_of_another_release_judges_nothing() -> None:
    texts = {"a": "no JSON", "b": '{"type":"strin"}', "c": "[]", "d": '{"$schema":"new"}'}
    made = Validators(Validation(True, tuple(EventSchema(*item) for item in texts.items())))

    assert made.broken.keys() == texts.keys()
    assert all(made.mismatch(event, msgspec.Raw(b"{}")) is None for event in texts)


@pytest.mark.parametrize(
    "pattern", [r"^(a+)+$", r"(a|aa)+$", r"(.*a){12}$", r"(a?){60}b", r"(.{0,20}){15}b"]
)
def test_the_largest_event_cannot_stall_a_pattern(pattern: str) -> None:
    schema = {"properties": {"text": {"pattern": pattern}}}
    text = json.dumps({"text": "a" * (MAX_EVENT - 100) + "!"}).encode()
    assert fault(schema) is None
    made = validators(schema)

    began = time.perf_counter()
    made.mismatch("signup", msgspec.Raw(text))

    assert time.perf_counter() - began < 2


def test_a_pointer_escapes_what_it_must() -> None:
    assert pointer(["a/b", 0, "c~d"]) == "/a~1b/0/c~0d"
    assert pointer([]) == ""
