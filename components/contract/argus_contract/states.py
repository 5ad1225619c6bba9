"""What a partition does: the words in which the stream reports it and everybody else reads it."""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """What a partition does, as `argus.partition_states` knows it."""

    OPEN = "open"
    PAUSED = "paused"
    """Tried again by itself, after a while."""
    GUARDED = "guarded"
    """The guard has tripped: nothing is stored or dead-lettered until most records pass again."""
    STOPPED = "stopped"
    """Its log cannot be read on; somebody has to act."""


LETTERS: Final = "dead letters"
"""How the reason of a pause begins that is the dead-letter topic's and not the database's."""


def blocks_letters(reason: str) -> bool:
    """Whether the stream paused because of the dead-letter topic rather than of the database."""
    return reason.startswith(LETTERS)
