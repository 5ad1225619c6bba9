"""What can go wrong on a record's way.

StreamError
├── LogError            a partition cannot be read from where we are
│   └── UnreadableError what its log holds there is no batch of records
├── BrokerError         no broker answered, or one answered with an error
├── LettersError        dead letters did not reach their topic
├── LiveError           Redis did not answer
└── StoreError          the database did not take a batch
    ├── FencedError     another process stored this partition
    ├── RefusedError    the data of some row: SQLSTATE class 22 or 23
    ├── DefectError     something of ours failed that should not have
    ├── HaltedError     the partition waits for somebody to say that it may be read on
    ├── TableError      one pipeline's tables, locks or rights: SQLSTATE of any other class
    └── UnavailableError   no database to speak to, or one that cannot work now

Adapters raise these and nothing of their client library; what is raised decides what is done.
"""

from argus_stream.sources import Source


class StreamError(Exception):
    """Root of the stream's errors."""


class LogError(StreamError):
    """These partitions cannot be read at their position; they have to be opened again."""

    def __init__(self, sources: frozenset[Source], message: str) -> None:
        super().__init__(message)
        self.sources = sources


class UnreadableError(LogError):
    """What these logs hold next cannot be parsed: reading it again changes little."""


class BrokerError(StreamError):
    """Kafka did not answer a question, or answered it with an error."""


class LettersError(StreamError):
    """Dead letters of one pipeline are not known to be in their topic."""


class LiveError(StreamError):
    """Redis did not answer, or answered with an error."""


class StoreError(StreamError):
    """The database did not take what it was given; nothing of it was stored."""


class FencedError(StoreError):
    """The partition's offset in SQL is not where the slice begins."""

    def __init__(self, source: Source, message: str) -> None:
        super().__init__(message)
        self.source = source


class HaltedError(StoreError):
    """The partition's log is not the one that was read; the text says what to do."""


class RefusedError(StoreError):
    """The data of at least one row is refused; the text is the database's."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(f"{message} (SQLSTATE {sqlstate})")
        self.sqlstate = sqlstate


class TableError(StoreError):
    """What the batch needs is missing, locked, forbidden or broken."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(f"{message} (SQLSTATE {sqlstate})")
        self.sqlstate = sqlstate


class DefectError(StoreError):
    """Something of ours failed on the batch; which record it was, taking it apart tells."""


class UnavailableError(StoreError):
    """The connection broke, timed out, or the server cannot work now; the outcome is unknown."""
