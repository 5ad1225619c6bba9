"""What can stand between a spec and the world.

    OperatorError
    ├── RefusedError      the spec asks for what cannot be; somebody must change something
    ├── UnavailableError  a dependency does not answer; tried again with back-off
    └── BusyError         somebody else is at the same thing; tried again soon

An adapter raises nothing else for what it knows of its dependency, so that one place can map every
failure to a condition.
"""


class OperatorError(Exception):
    """Base of the tree; `reason` is the condition's, the message is for a person to act on."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class RefusedError(OperatorError):
    """Trying again changes nothing before spec, values or cluster change."""


class UnavailableError(OperatorError):
    """A dependency did not answer, or not in time; the same attempt may succeed later."""


class BusyError(OperatorError):
    """The object changed under the attempt, or its predecessor is still going away."""
