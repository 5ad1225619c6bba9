"""The arithmetic of slices: each offset once, whatever is done to them."""

from argus_stream.slices import Slice
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.stream.samples import accounted, lease, letter, record

kinds = st.lists(st.sampled_from(["row", "letter", "repeat", "gap"]), max_size=30)


def built(kinds_: list[str], start: int) -> Slice:
    """A slice that has one offset of each kind, in this order."""
    piece = Slice(lease(start=start), start, start)
    for kind in kinds_:
        offset = piece.end
        if kind == "gap":
            piece.skip_to(offset + 1)
            continue
        if kind == "row":
            piece.rows.append(b"row %d" % offset)
            piece.records.append(record(offset))
        elif kind == "letter":
            piece.letters.append(letter(offset))
        else:
            piece.repeats.append(offset)
        piece.end = offset + 1
    return piece


@given(kinds, st.integers(0, 2**40))
def test_halves_account_for_what_the_whole_did(found: list[str], start: int) -> None:
    whole = built(found, start)
    halves = whole.split()
    if found.count("row") < 2:
        assert halves is None
        return
    assert halves is not None
    first, second = halves
    assert (first.start, first.end, second.end) == (whole.start, second.start, whole.end)
    assert accounted(first) == list(range(first.start, first.end))
    assert accounted(second) == list(range(second.start, second.end))
    assert first.rows + second.rows == whole.rows
    assert 0 < len(first.rows) <= len(second.rows) <= len(first.rows) + 1


@given(kinds.filter(lambda found: "row" in found), st.data())
def test_a_withdrawn_row_is_a_letter_in_its_place(found: list[str], data: st.DataObject) -> None:
    piece = built(found, 100)
    index = data.draw(st.integers(0, len(piece.rows) - 1))
    offset = piece.records[index].offset
    piece.withdraw(index, letter(offset))
    assert accounted(piece) == list(range(piece.start, piece.end))
    offsets = [each.record.offset for each in piece.letters]
    assert offset in offsets
    assert offsets == sorted(offsets)
    assert len(piece.rows) == len(piece.records)


@given(kinds, st.data())
def test_repeats_are_counted_apart_from_letters(found: list[str], data: st.DataObject) -> None:
    piece = built(found, 0)
    chosen = [each for each in piece.letters if data.draw(st.booleans())]
    piece.repeat(chosen)
    assert accounted(piece) == list(range(piece.start, piece.end))
    assert not set(chosen) & set(piece.letters)
    assert piece.repeats == sorted(piece.repeats)


def test_skipped_counts_offsets_and_not_gaps() -> None:
    piece = Slice(lease(start=5), 5, 5)
    piece.skip_to(9)
    piece.skip_to(10)
    assert piece.skipped == 5
