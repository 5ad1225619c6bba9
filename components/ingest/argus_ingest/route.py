"""Which pipeline takes each item, and with that the record that it becomes."""

from collections.abc import Collection, Iterable

from argus_contract import records
from argus_contract.ids import new_ids
from argus_contract.items import Item, Reject
from argus_contract.records import Record
from argus_contract.registry import Pipeline
from argus_contract.rejects import Code

from argus_ingest.budget import RECORD
from argus_ingest.errors import NoPipelineError
from argus_ingest.tenants import Tenant


class Bundle:
    """What one pipeline takes of a request."""

    __slots__ = ("pipeline", "records", "rejects", "size")

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.records: list[Record] = []
        self.size = 0
        """Bytes that the records take, if they cannot be compressed."""
        self.rejects: list[Code] = []
        """The codes of those records that are no events."""


class Routing:
    """Sorts the items of one request into bundles, one a pipeline, in the order of the items."""

    __slots__ = ("_by_name", "_by_topic", "_ids", "_received", "_tenant")

    def __init__(self, tenant: Tenant, received: int) -> None:
        """`received` in microseconds since the epoch."""
        self._tenant = tenant
        self._received = received
        self._ids = new_ids(received)
        self._by_name: dict[str | None, Bundle] = {}
        self._by_topic: dict[str, Bundle] = {}

    @property
    def bundles(self) -> Collection[Bundle]:
        """What was added, by pipeline."""
        return self._by_topic.values()

    def add(self, items: Iterable[Item]) -> None:
        """A reject goes where its name leads, else to the default. Raises NoPipelineError."""
        received, ids, overhead = self._received, self._ids, RECORD
        for item in items:
            if isinstance(item, Reject):
                bundle = self._bundle(item.name)
                record = records.of_reject(item, received, ids)
                bundle.rejects.append(item.code)
            else:
                bundle = self._bundle(item.event.event)
                record = records.of_event(item, bundle.pipeline, received, ids)
            bundle.records.append(record)
            bundle.size += len(record.value) + overhead

    def _bundle(self, name: str | None) -> Bundle:
        bundle = self._by_name.get(name)
        if bundle is None:
            bundle = self._by_name[name] = self._find(name)
        return bundle

    def _find(self, name: str | None) -> Bundle:
        router = self._tenant.router
        pipeline = router.default if name is None else router.route(name)
        if pipeline is None:
            what = "an item without a name" if name is None else f"event {name!r}"
            raise NoPipelineError(
                f"No pipeline of tenant {self._tenant.display} takes {what}, and it has no default "
                "pipeline. Nothing of this request was published."
            )
        bundle = self._by_topic.get(pipeline.topic)
        if bundle is None:
            bundle = self._by_topic[pipeline.topic] = Bundle(pipeline)
        return bundle
