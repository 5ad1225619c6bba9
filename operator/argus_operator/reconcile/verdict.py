"""What a look at something comes to, for the queue that has to look again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it has to be looked at again, and whether the look left the world as it was."""

    retry: bool = False
    """A dependency failed: with back-off."""
    again_in: float | None = None
    """Something else is still to happen: after this many seconds."""
    acted: bool = False
    """Something was written, so what was seen before this look is no more."""
    failed: bool = False
    """A step met an error, whether or not another attempt may help."""

    @property
    def quiet(self) -> bool:
        """Whether all was found as it shall be."""
        return not (self.retry or self.acted or self.failed)
