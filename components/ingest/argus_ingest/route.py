"""Which pipeline takes an item, and with that the record that it becomes."""

from argus_contract.registry import Pipeline

from argus_ingest import records
from argus_ingest.decode import Item, Reject
from argus_ingest.errors import NoPipelineError
from argus_ingest.records import Record
from argus_ingest.tenants import Tenant


def route(tenant: Tenant, item: Item, received: int) -> tuple[Pipeline, Record]:
    """The pipeline of an item and its record; `received` in microseconds.

    A reject goes where its name leads, else to the default. Raises NoPipelineError.
    """
    if isinstance(item, Reject):
        pipeline = tenant.router.default if item.name is None else tenant.router.route(item.name)
        if pipeline is None:
            raise _no_pipeline(tenant, f"rejected item {item.index}")
        return pipeline, records.of_reject(item, received)
    name = item.event.event
    pipeline = tenant.router.route(name)
    if pipeline is None:
        raise _no_pipeline(tenant, f"event {name!r}")
    return pipeline, records.of_event(item, pipeline, received)


def _no_pipeline(tenant: Tenant, what: str) -> NoPipelineError:
    return NoPipelineError(
        f"No pipeline of tenant {tenant.display} takes {what}, and it has no default pipeline. "
        "Nothing of this request was published."
    )
