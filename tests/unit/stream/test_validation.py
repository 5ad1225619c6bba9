"""Validators follow the registry, and are compiled again only where it says something else."""

import msgspec
from argus_contract.registry import EventSchema, Pipeline, Validation
from argus_stream.validation import Validations

from tests.unit.stream.samples import pipeline

SCHEMA = '{"required":["plan"]}'


def with_schema(schema: str = SCHEMA, *, enforce: bool = True) -> Pipeline:
    validation = Validation(enforce, (EventSchema("signup", schema),))
    return msgspec.structs.replace(pipeline(), validation=validation)


def test_a_pipeline_without_schemas_has_none() -> None:
    assert Validations().of(pipeline()) is None


def test_a_document_that_says_the_same_compiles_nothing() -> None:
    validations = Validations()
    made = validations.of(with_schema())

    assert made is not None
    assert made.mismatch("signup", msgspec.Raw(b"{}")) is not None
    assert validations.of(with_schema()) is made


def test_another_schema_or_mode_is_heeded() -> None:
    validations = Validations()
    validations.of(with_schema())
    other = validations.of(with_schema("{}"))
    observing = validations.of(with_schema("{}", enforce=False))

    assert other is not None
    assert other.mismatch("signup", msgspec.Raw(b"{}")) is None
    assert other.enforce
    assert observing is not None
    assert not observing.enforce


def test_what_is_read_no_more_is_forgotten() -> None:
    validations = Validations()
    made = validations.of(with_schema())
    validations.keep({pipeline().topic})
    assert validations.of(with_schema()) is made

    validations.keep(set())
    assert validations.of(with_schema()) is not made


def test_a_schema_that_cannot_be_applied_judges_nothing() -> None:
    made = Validations().of(with_schema('{"type":"strin"}'))

    assert made is not None
    assert made.broken
    assert made.mismatch("signup", msgspec.Raw(b"{}")) is None
