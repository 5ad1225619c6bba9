"""Whose key is this, and which pipelines are there?

Asks the registry, as ingest does, so that no access to Kubernetes is needed.
"""

import asyncio
from typing import Final

from argus_contract.keys import hash_key
from argus_contract.registry import TenantDocument
from argus_runtime import kafka
from argus_runtime.lifecycle import until
from argus_runtime.registry import Documents, RegistryTail
from argus_runtime.settings import KafkaSettings

from argus_cli.errors import UnknownError, UnreachableError
from argus_cli.scope import Route, Scope

_TIMEOUT_S: Final = 20.0


async def tenant_of(api_key: str, settings: KafkaSettings, topic: str) -> TenantDocument:
    """The tenant that has this key.

    Raises UnknownError where none has, UnreachableError without a complete registry.
    """
    wanted = hash_key(api_key)
    for document in (await snapshot(settings, topic)).values():
        if any(key.hash == wanted for key in document.keys):
            return document
    raise UnknownError(
        "no tenant has the API key in ARGUS_API_KEY: was it rotated out, or deleted?"
    )


async def pipelines(settings: KafkaSettings, topic: str, scope: Scope) -> list[Route]:
    """The pipelines in `scope`, by name.

    Raises UnknownError where there is none, UnreachableError without a complete registry.
    """
    documents = await snapshot(settings, topic)
    found = scope.routes(documents.values())
    if not found:
        raise UnknownError(f"the registry knows no {scope}; `kubectl get argus -A` lists all")
    return found


async def snapshot(settings: KafkaSettings, topic: str) -> Documents:
    """The registry as it is now; raises UnreachableError where no complete one can be read."""
    tail = RegistryTail(kafka.options(settings, "argus-cli"), topic)
    complete = asyncio.Event()
    tail.subscribe(lambda _: complete.set())
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await until(complete, tail.run())
    except TimeoutError as error:
        said = f"no complete registry in topic {topic} within {_TIMEOUT_S:.0f} s"
        raise UnreachableError(f"Kafka at {settings.bootstrap}", said) from error
    return tail.snapshot or {}
