"""What PostgreSQL cannot hold though it is valid JSON: found before the database refuses a batch.

PostgreSQL's text has no NUL, jsonb takes no lone surrogate, and jsonb's numbers are `numeric`, with
at most 131,072 digits before the decimal point and 16,383 after it (PostgreSQL's documentation,
"Numeric Types" and "JSON Types"). The database remains the judge: what passes here and is refused
there is found by bisection, at a price.
"""

import re
from typing import Final

MAX_INTEGER_DIGITS: Final = 131_072
MAX_SCALE: Final = 16_383

_ESCAPE: Final = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_STRING_OR_NUMBER: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*"|-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?', re.DOTALL
)
_HIGH: Final = range(0xD800, 0xDC00)
_LOW: Final = range(0xDC00, 0xE000)
_MAX_EXPONENT_DIGITS: Final = 6


def has_nul(json: bytes) -> bool:
    """Whether some string of this JSON text has a NUL in it."""
    if b"\\u0000" not in json:
        return False
    return any(match[1] == b"0000" for match in _ESCAPE.finditer(json))


def has_lone_surrogate(json: bytes) -> bool:
    """Whether some string has half of a surrogate pair, written as an escape."""
    pending = -1
    for match in _ESCAPE.finditer(json):
        unit = -1 if match[1] is None else int(match[1], 16)
        paired = pending == match.start()
        if pending >= 0 and not (paired and unit in _LOW):
            return True
        if unit in _LOW and not paired:
            return True
        pending = match.end() if unit in _HIGH else -1
    return pending >= 0


def is_text(json: bytes) -> bool:
    """Whether the bytes are UTF-8, which a decoder that skips values does not check."""
    if json.isascii():
        return True
    try:
        json.decode()
    except UnicodeDecodeError:
        return False
    return True


def unstorable_number(json: bytes) -> str | None:
    """The beginning of the first number that `numeric` cannot hold, None if it can hold all.

    Reads every byte: for records of which the database has refused some.
    """
    for match in _STRING_OR_NUMBER.finditer(json):
        if match[1] is not None and not _fits(match[1], match[2] or b"", match[3] or b"0"):
            return match[0][:40].decode()
    return None


def _fits(whole: bytes, fraction: bytes, exponent: bytes) -> bool:
    if len(exponent.lstrip(b"+-").lstrip(b"0")) > _MAX_EXPONENT_DIGITS:
        return False
    shift = int(exponent)
    return (
        len(whole.lstrip(b"0")) + shift <= MAX_INTEGER_DIGITS and len(fraction) - shift <= MAX_SCALE
    )
