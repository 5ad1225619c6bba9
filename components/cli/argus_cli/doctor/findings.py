"""What a question came to, and how trouble on the network is told in words. Pure."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from argus_cli.settings import Settings

_TELLING: Final = (TimeoutError, socket.gaierror, ConnectionRefusedError, ssl.SSLError)


class State(StrEnum):
    """How something is."""

    WELL = "ok"
    NOTABLE = "note"
    """In order, and worth knowing."""
    WRONG = "WRONG"
    UNASKED = "not checked"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was asked about, how it is, and what to do where it is not well."""

    subject: str
    state: State
    said: str
    advice: str = ""


Examination = Callable[[Settings, float], AsyncIterator[Finding]]
"""Asks one dependency; the number is how long each question may take, in seconds.

Ends early where the rest makes no sense; what the network does it tells, and does not raise.
"""


def well(subject: str, said: str) -> Finding:
    """All is as it should be."""
    return Finding(subject, State.WELL, said)


def notable(subject: str, said: str, advice: str = "") -> Finding:
    """Nothing is wrong, and somebody should know."""
    return Finding(subject, State.NOTABLE, said, advice)


def wrong(subject: str, said: str, advice: str) -> Finding:
    """Something has to be done."""
    return Finding(subject, State.WRONG, said, advice)


def unasked(subject: str, said: str) -> Finding:
    """It could not be asked, for a reason that is told elsewhere or is nobody's fault."""
    return Finding(subject, State.UNASKED, said)


def unreached(subject: str, where: str, error: BaseException, running: str) -> Finding:
    """Nobody answers at `where`; `running` says how to see whether it should."""
    match cause(error):
        case TimeoutError():
            return wrong(
                subject,
                f"{where} does not answer in time",
                f"{running} If it runs: is the address right, and does a firewall or a network"
                " policy drop the connection?",
            )
        case socket.gaierror():
            return wrong(subject, f"the name in {where} is not known here", "Is it spelt right?")
        case ConnectionRefusedError():
            return wrong(subject, f"nothing listens at {where}", running)
        case ssl.SSLError() as failure:
            return wrong(
                subject,
                f"{where}: TLS fails: {told(failure)}",
                "Does it speak TLS, and is its certificate signed by the authority in …CA_FILE?",
            )
        case _:
            return wrong(subject, f"{where} cannot be reached: {told(error)}", running)


def cause(error: BaseException) -> BaseException:
    """What the system said, where a client has wrapped it; else the error itself."""
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop(0)
        if isinstance(one, _TELLING):
            return one
        if isinstance(one, BaseExceptionGroup):
            pending.extend(one.exceptions)
        if one is not None:
            pending.append(one.__cause__ or one.__context__)
    return error


def told(error: BaseException) -> str:
    """The error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def as_document(findings: list[Finding]) -> dict[str, Any]:
    """For `--json`."""
    return {
        "well": not any(one.state is State.WRONG for one in findings),
        "findings": [
            {
                "subject": one.subject,
                "state": one.state.value,
                "said": one.said,
                "advice": one.advice or None,
            }
            for one in findings
        ],
    }
