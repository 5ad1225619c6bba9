"""The envelope around an event, made without reading it: the client's bytes are spliced in.

The envelope's format, and how it is read, are in `envelope`.
"""


def envelope(id: str, time: int, received: int, event: bytes, value: float | None = None) -> bytes:
    """A record's value around the client's bytes, which must be one valid JSON object."""
    derived = "" if value is None else f'"value":{value!r},'
    head = f'{{"v":1,"id":"{id}","time":{time},"received":{received},{derived}"event":'
    return b"".join((head.encode(), event, b"}"))
