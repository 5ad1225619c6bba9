"""Structured logs on standard error: one line a record, JSON or text.

Fields are passed as `extra={"tenant": …}`, or bound to all that a block does. Keys, passwords and
event contents are never logged.
"""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

import msgspec
from argus_contract.times import SECOND, rfc3339

from argus_runtime.settings import LogFormat, LogSettings

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUIET: Final = ("aiokafka", "httpx", "uvicorn")
_REPEATING: Final = "aiokafka"
_REPEAT_S: Final = 60.0
_REMEMBERED: Final = 256
_bound: ContextVar[Mapping[str, str]] = ContextVar("bound", default=MappingProxyType({}))


@contextmanager
def bound(**fields: str) -> Iterator[None]:
    """Gives these fields to every record of the block, and of the tasks that it starts.

    A record's own `extra` wins, and so does an inner block.
    """
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, component, logger, message, fields, exception."""

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component
        self._encode = msgspec.json.Encoder(enc_hook=str).encode

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        line: dict[str, Any] = {
            "time": rfc3339(int(record.created * SECOND)),
            "level": record.levelname.lower(),
            "component": self._component,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return self._encode(line).decode()


class TextFormatter(logging.Formatter):
    """A line for a terminal; fields follow the message as `name=value`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """The line with its fields, before any traceback."""
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        return super().formatMessage(record) + fields


class Bound(logging.Filter):
    """Gives each record what is bound where it is made; lets all through."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        for name, value in _bound.get().items():
            vars(record).setdefault(name, value)
        return True


class Unrepeated(logging.Filter):
    """Lets each message of a client library through once a minute.

    aiokafka says the same ten times a second while a broker is away.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this message has not been said for a minute."""
        if not record.name.startswith(_REPEATING):
            return True
        message = record.getMessage()
        last = self._said.get(message)
        if last is not None and record.created - last < _REPEAT_S:
            return False
        if len(self._said) >= _REMEMBERED:
            self._said.clear()
        self._said[message] = record.created
        return True


def configure(settings: LogSettings, component: str) -> None:
    """Sends every record of this process to standard error; replaces earlier handlers."""
    handler = logging.StreamHandler(sys.stderr)
    as_json = settings.format is LogFormat.JSON
    handler.setFormatter(JsonFormatter(component) if as_json else TextFormatter())
    handler.addFilter(Bound())
    handler.addFilter(Unrepeated())
    logging.basicConfig(level=settings.level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.getLevelName(settings.level), logging.WARNING))
