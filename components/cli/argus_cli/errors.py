"""What can go wrong for a person at the console; `main` prints the message and exits.

CliError                what is wrong, in words that say what to do; exit code 2
├── MissingSettingError an environment variable that the command needs
├── UnreachableError    a service that does not answer
├── UnknownError        a key, tenant or topic that the installation does not know
└── BadInputError       a file that cannot be sent
"""


class CliError(Exception):
    """A message for a person; never shown with a traceback."""


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
