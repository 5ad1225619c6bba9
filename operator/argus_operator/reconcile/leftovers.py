"""What a forced deletion passes over.

Only engines are passed over, never the API server: a resource is let go there or not at all. Nor is
what is only in somebody's way at the moment, for that does not last.
"""

from collections.abc import Awaitable
from typing import TypeVar

from argus_operator.errors import BusyError, OperatorError

Result = TypeVar("Result")


class Leftovers:
    """What one deletion has left where it was."""

    def __init__(self, forced: bool) -> None:
        self._forced = forced
        self.found: list[str] = []
        """Each in words that tell a person how to remove it."""

    async def unless(self, step: Awaitable[Result], what: str, otherwise: Result) -> Result:
        """The step's result; `otherwise` where its engine is away and that is to be passed over.

        Raises the step's OperatorError where it is not. `what` is left then; nothing if empty.
        """
        try:
            return await step
        except OperatorError as error:
            if not passes(self._forced, error):
                raise
            self.note_if(bool(what), f"{what} ({error.reason})")
            return otherwise

    def note_if(self, there: bool, what: str) -> None:
        """Remembers `what`, where it is `there`."""
        if there:
            self.found.append(what)


def passes(forced: bool, outcome: object) -> bool:
    """Whether a deletion goes on although a step came to this."""
    return forced and isinstance(outcome, OperatorError) and not isinstance(outcome, BusyError)
