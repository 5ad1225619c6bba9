"""Steps that may fail each for itself: one dependency that is away must not stop the others."""

from collections.abc import Awaitable
from typing import TypeVar

from argus_operator.errors import OperatorError
from argus_operator.reconcile import repairs

Result = TypeVar("Result")


async def attempt(step: Awaitable[Result]) -> Result | OperatorError:
    """The step's result, or the error that it met; anything but an OperatorError is a fault."""
    try:
        return await step
    except OperatorError as error:
        repairs.note_failure()
        return error
