"""The list of variants."""

from dataclasses import fields

from bench.variants import AGAIN, AS_IS, VARIANTS, Variant, phases

BY_NAME = {variant.name: variant for variant in VARIANTS}


def _differences(variant: Variant, other: Variant) -> set[str]:
    compared = {field.name for field in fields(Variant)} - {"name", "title", "against"}
    return {name for name in compared if getattr(variant, name) != getattr(other, name)}


def test_names_are_unique_and_what_a_variant_is_held_against_is_there() -> None:
    assert len(BY_NAME) == len(VARIANTS)
    assert {variant.against for variant in VARIANTS} <= BY_NAME.keys()


def test_as_is_changes_nothing_and_is_there_twice() -> None:
    assert BY_NAME[AS_IS].against == AS_IS
    assert not _differences(BY_NAME[AGAIN], BY_NAME[AS_IS])


def test_every_other_variant_changes_something() -> None:
    for variant in VARIANTS:
        if variant.name not in (AS_IS, AGAIN):
            assert _differences(variant, BY_NAME[variant.against])


def test_checkpoints_are_no_part_of_the_others_rounds() -> None:
    first, second = phases()
    assert [*first, *second] == list(VARIANTS)
    assert not any(variant.checkpoint for variant in first)
    assert all(variant.checkpoint for variant in second)


def test_a_type_is_given_where_it_is_another_one() -> None:
    assert BY_NAME[AS_IS].retyping("t") == []
    assert BY_NAME["text"].retyping("t") == [
        "ALTER TABLE t ALTER COLUMN properties TYPE text USING NULL"
    ]
