"""What can go wrong for a person at the console; `main` prints the message and exits.

CliError                what is wrong, in words that say what to do; exit code 2 where none is named
├── MissingSettingError an environment variable that the command needs
├── UnreachableError    a service that does not answer
├── UnknownError        a key, tenant or topic that the installation does not know
├── BadInputError       a file that cannot be sent
├── BlockedError        pipelines of which nothing could be replayed; exit code 1
└── TerminatedError     SIGTERM; exit code 143
"""

import signal
from typing import ClassVar


class CliError(Exception):
    """A message for a person; never shown with a traceback."""

    exit_code: ClassVar[int] = 2


class MissingSettingError(CliError):
    """A command needs an environment variable that is not set."""

    def __init__(self, variable: str, purpose: str) -> None:
        super().__init__(
            f"{variable} is not set ({purpose}).\n"
            'On the local cluster, set it and its neighbours by:  eval "$(make -s env)"'
        )


class UnreachableError(CliError):
    """A service does not answer, or refuses us."""

    def __init__(self, service: str, reason: BaseException | str) -> None:
        said = reason if isinstance(reason, str) else f"{type(reason).__name__}: {reason}"
        super().__init__(f"{service} cannot be reached: {said}")


class UnknownError(CliError):
    """The installation does not know what was asked for."""


class BadInputError(CliError):
    """The events to send cannot be read."""


class BlockedError(CliError):
    """Of some pipelines nothing could be replayed; of all others everything was."""

    exit_code = 1


class TerminatedError(CliError):
    """Somebody ended the command before it was done."""

    exit_code = 128 + signal.SIGTERM
