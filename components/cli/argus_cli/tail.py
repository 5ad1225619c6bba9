"""`argus tail`: what comes into the topics from now on, read without a group.

Looking changes nothing: no offset is committed. What a pipeline that appears meanwhile, or a
partition that is added, has taken since is shown from its beginning.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError
from argus_runtime import kafka
from argus_runtime.lifecycle import until
from argus_runtime.registry import Documents, RegistryTail
from argus_runtime.settings import KafkaSettings
from rich.console import Console

from argus_cli import broker, registry
from argus_cli.errors import UnknownError, UnreachableError
from argus_cli.letters import named
from argus_cli.scope import Route, Scope
from argus_cli.settings import Settings
from argus_cli.sighting import Sighting, seen

_CLIENT: Final = "argus-tail"
_POLL_MS: Final = 200
_START_S: Final = 20.0

Fetched = Mapping[TopicPartition, Sequence[Any]]
Show = Callable[[Sequence[Sighting]], None]


@dataclass(slots=True)
class Wanted:
    """The partitions to read, as the registry last named them."""

    scope: Scope
    routes: dict[TopicPartition, Route] = field(default_factory=dict)
    changed: bool = False

    def learn(self, documents: Documents) -> None:
        """Takes a registry."""
        routes = {
            TopicPartition(route.pipeline.topic, partition): route
            for route in self.scope.routes(documents.values())
            for partition in range(route.pipeline.partitions)
        }
        self.changed = self.changed or routes.keys() != self.routes.keys()
        self.routes = routes


async def tail(
    settings: Settings, console: Console, scope: Scope, events: tuple[str, ...], *, as_json: bool
) -> None:
    """Shows what comes in until SIGINT or SIGTERM.

    Raises UnknownError where nothing is in scope, UnreachableError where Kafka does not answer.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    show = _json if as_json else _lines(console)
    if console.is_terminal and not as_json:
        console.print("[dim]What comes in from now on is shown; Ctrl-C ends.[/]")

    def chosen(sightings: Sequence[Sighting]) -> None:
        show([one for one in sightings if not events or named(one.event, events)])

    await until(stop, follow(settings.require_kafka(), settings.registry_topic, scope, chosen))


async def follow(settings: KafkaSettings, registry_topic: str, scope: Scope, show: Show) -> None:
    """Calls `show` with what comes in, for ever."""
    wanted = Wanted(scope)
    first = await registry.snapshot(settings, registry_topic)
    if scope.tenant is not None and not _has(first, scope.tenant):
        raise UnknownError(f"the registry knows no {scope}; `kubectl get argus -A` lists all")
    wanted.learn(first)
    if not wanted.routes and scope.tenant is None:
        raise UnknownError(f"the registry knows no {scope}; `kubectl get argus -A` lists all")
    changes = RegistryTail(kafka.options(settings, _CLIENT), registry_topic)
    changes.subscribe(wanted.learn)
    following = asyncio.create_task(changes.run())
    try:
        await _read(settings, wanted, show)
    finally:
        following.cancel()
        await asyncio.wait({following})


def _has(documents: Documents, tenant: tuple[str, str]) -> bool:
    return any((one.namespace, one.name) == tenant for one in documents.values())


async def _read(settings: KafkaSettings, wanted: Wanted, show: Show) -> None:
    consumer = AIOKafkaConsumer(
        **kafka.options(settings, _CLIENT),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="latest",
    )
    try:
        async with asyncio.timeout(_START_S):
            await consumer.start()
            await _assign(consumer, wanted, from_end=True)
        while True:
            if wanted.changed:
                async with asyncio.timeout(_START_S):
                    await _assign(consumer, wanted, from_end=False)
            if not wanted.routes:
                await asyncio.sleep(_POLL_MS / 1000)
                continue
            show(_sightings(await _fetch(consumer), wanted.routes))
    except BrokenPipeError:
        raise
    except (KafkaError, TimeoutError, OSError) as error:
        raise UnreachableError(f"Kafka at {settings.bootstrap}", error) from error
    finally:
        await broker.stop(consumer)


async def _assign(consumer: AIOKafkaConsumer, wanted: Wanted, *, from_end: bool) -> None:
    """Goes on where it was; what is new is read from its end, or from its beginning."""
    wanted.changed = False
    places = list(wanted.routes)
    kept = {
        place: await consumer.position(place)
        for place in consumer.assignment() & wanted.routes.keys()
    }
    if not places:
        consumer.unsubscribe()
        return
    consumer.assign(places)
    new = [place for place in places if place not in kept]
    look = consumer.end_offsets if from_end else consumer.beginning_offsets
    for place, offset in {**kept, **(await look(new) if new else {})}.items():
        consumer.seek(place, offset)


async def _fetch(consumer: AIOKafkaConsumer) -> Fetched:
    """What came in; after a record that no client can read, goes on at the end."""
    try:
        fetched: Mapping[TopicPartition, Sequence[Any]] = await consumer.getmany(
            timeout_ms=_POLL_MS
        )
    except (CorruptRecordException, UnicodeDecodeError) as error:
        print(f"argus: passed over a record that cannot be read: {error}", file=sys.stderr)
        await consumer.seek_to_end()
        return {}
    return fetched


def _sightings(fetched: Fetched, routes: Mapping[TopicPartition, Route]) -> list[Sighting]:
    """In the order of receipt, as far as one answer of the broker goes."""
    found = [
        seen(
            routes[where].name,
            f"{where.topic}/{where.partition}/{record.offset}",
            record.value,
            record.headers,
            record.timestamp,
        )
        for where, records in fetched.items()
        if where in routes
        for record in records
    ]
    return sorted(found, key=lambda one: one.received)


def _json(sightings: Sequence[Sighting]) -> None:
    for one in sightings:
        print(one.document())
    sys.stdout.flush()


def _lines(console: Console) -> Show:
    def show(sightings: Sequence[Sighting]) -> None:
        for one in sightings:
            console.print(
                one.line(),
                style="red" if one.refusal else None,
                markup=False,
                no_wrap=True,
                overflow="ellipsis" if console.is_terminal else "ignore",
                crop=console.is_terminal,
            )

    return show
