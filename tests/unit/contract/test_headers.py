"""Headers are found by their first occurrence."""

from argus_contract import headers


def test_the_first_header_of_a_name_counts() -> None:
    sent = [("a", b"1"), (headers.ID, b"x"), (headers.ID, b"y")]
    assert headers.get(sent, headers.ID) == b"x"
    assert headers.get(sent, headers.REJECT) is None


def test_a_letters_key_is_its_source() -> None:
    assert headers.letter_key("argus.ns.web.0f8fad5b", 3, 17) == b"argus.ns.web.0f8fad5b/3/17"
