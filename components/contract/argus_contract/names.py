"""How ARGUS names what it makes in Kafka, PostgreSQL and Redis.

A name carries the first eight hex digits of the resource's uid, so that a resource that is deleted
and created again never meets the topics, offsets or rows of its predecessor.
"""

import re
from typing import Final, NewType

TenantId = NewType("TenantId", str)
TopicName = NewType("TopicName", str)

REGISTRY_TOPIC: Final = "argus.registry"
STREAM_GROUP: Final = "argus.stream"
DEAD_LETTER_SUFFIX: Final = ".dead"
MAX_IDENTIFIER: Final = 63
"""Longest PostgreSQL identifier, in bytes (NAMEDATALEN - 1)."""

_UID_DIGITS: Final = 8
_NOT_HEX = re.compile(r"[^0-9a-f]")


def short_uid(uid: str) -> str:
    """The first eight hex digits of a Kubernetes uid, dashes dropped.

    Raises ValueError where the uid has fewer: a shorter suffix would not be unique.
    """
    digits = _NOT_HEX.sub("", uid.lower())
    if len(digits) < _UID_DIGITS:
        raise ValueError(f"uid {uid!r} has fewer than {_UID_DIGITS} hex digits")
    return digits[:_UID_DIGITS]


def tenant_id(namespace: str, name: str, uid: str) -> TenantId:
    """`<namespace>.<name>.<uid8>`: registry key, Redis hash tag and primary key in SQL."""
    return TenantId(f"{namespace}.{name}.{short_uid(uid)}")


def topic(namespace: str, pipeline: str, uid: str) -> TopicName:
    """`argus.<namespace>.<pipeline>.<uid8>`, at most 63 bytes; the namespace gives way first."""
    room = MAX_IDENTIFIER - len("argus...") - _UID_DIGITS
    head = _fit(namespace, pipeline, room)
    return TopicName(f"argus.{head[0]}.{head[1]}.{short_uid(uid)}")


def dead_letter_topic(topic_name: TopicName) -> TopicName:
    """The topic beside `topic_name` that takes what could not be stored."""
    return TopicName(topic_name + DEAD_LETTER_SUFFIX)


def schema(namespace: str, tenant: str, uid: str) -> str:
    """`t_<namespace>_<tenant>_<uid8>`: the tenant's schema, with room for the role's suffix."""
    room = MAX_IDENTIFIER - len("t___") - _UID_DIGITS - len("_ro")
    head = _fit(namespace, tenant, room)
    return f"t_{_identifier(head[0])}_{_identifier(head[1])}_{short_uid(uid)}"


def read_only_role(schema_name: str) -> str:
    """The role that may read this one schema."""
    return f"{schema_name}_ro"


def table(pipeline: str) -> str:
    """The pipeline's hypertable, inside the tenant's schema."""
    return f"events_{_identifier(pipeline)}"


def rollup_table(pipeline: str) -> str:
    """The pipeline's rollup by the minute, inside the tenant's schema."""
    return f"rollup_{_identifier(pipeline)}"


def ids_table(pipeline: str) -> str:
    """Ids that clients sent without a time, kept for the dedupe window."""
    return f"ids_{_identifier(pipeline)}"


def key_secret(tenant: str) -> str:
    """The Secret, in the tenant's namespace, that holds its API keys by name."""
    return f"{tenant}-argus-keys"


def _identifier(name: str) -> str:
    return name.replace("-", "_")


def _fit(first: str, second: str, room: int) -> tuple[str, str]:
    """Shortens `first`, then `second`, until both together have at most `room` characters."""
    second = second[: room - 1]
    return first[: room - len(second)], second
