"""One tenant with its pipelines, from whatever state to what their specs say.

They are reconciled as one because the registry knows them as one document: a pipeline's change
is a change of its tenant's document, and which pipeline is the default only all of them can tell.

What must never happen: data dropped under Retain, a marker without a known tenant, a resource let
go before its cleanup is done, anything made for an object that does not hold our finalizer yet.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import msgspec
from argus_contract import names
from argus_contract import registry as contract
from argus_contract.names import TenantId
from argus_contract.registry import TenantDocument
from argus_runtime import logs

from argus_operator import documents, limits, schemas, usage
from argus_operator.errors import BusyError, OperatorError, RefusedError
from argus_operator.models.common import PAUSED, REVOKE, Meta
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.models.tenant import PLURAL as TENANTS
from argus_operator.models.tenant import TenantSpec
from argus_operator.ports import Cluster, Registry, Schemas
from argus_operator.reconcile import findings, repairs
from argus_operator.reconcile.attempt import attempt
from argus_operator.reconcile.findings import TenantOutcome
from argus_operator.reconcile.health import Health
from argus_operator.reconcile.leftovers import passes
from argus_operator.reconcile.pipelines import PipelineStep, Provisioned, entry
from argus_operator.reconcile.removal import Removal
from argus_operator.reconcile.status import StatusWriter
from argus_operator.reconcile.tenants import Keyring, KeyStep
from argus_operator.reconcile.usage import UsageBook
from argus_operator.reconcile.verdict import Verdict
from argus_operator.resources import Family, Pipeline, Tenant, family_of_pipeline
from argus_operator.schemas import TenantSchema
from argus_operator.settings import Tiers
from argus_operator.usage import Use

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Members:
    """A family's resources; `active` and `leaving` pipelines from the oldest to the youngest."""

    tenant: Tenant | None
    active: tuple[Pipeline, ...]
    leaving: tuple[Pipeline, ...]

    def awake(self) -> Self:
        """The same, as if nobody had paused a pipeline."""
        return dataclasses.replace(self, active=tuple(p.awake() for p in self.active))


class FamilyReconciler:
    """Reconciles a family; never two runs of one family at once (the controller sees to it)."""

    def __init__(
        self,
        cluster: Cluster,
        registry: Registry,
        database: Schemas,
        keys: KeyStep,
        pipelines: PipelineStep,
        health: Health,
        removal: Removal,
        status: StatusWriter,
        tiers: Callable[[], Tiers],
        usage: UsageBook,
        settle: float,
    ) -> None:
        """`settle`: seconds that pods are given to hear of a change before anything is dropped."""
        self._cluster = cluster
        self._registry = registry
        self._database = database
        self._keys = keys
        self._pipelines = pipelines
        self._health = health
        self._removal = removal
        self._status = status
        self._tiers = tiers
        self._usage = usage
        self._settle = settle

    async def reconcile(self, family: Family) -> Verdict:
        """One look and what follows from it; raises OperatorError where not even the look works."""
        with repairs.recording() as run:
            verdict = await self._look(family)
        return run.of(verdict)

    async def _look(self, family: Family) -> Verdict:
        members = await self._observe(family)
        unread = await attempt(self._registry.load())
        tenant = members.tenant
        if unread is None:
            await self._retire_predecessors(family, tenant)
        if tenant is None:
            return await self._without_tenant(members)
        if tenant.meta.deleting:
            return await self._leave(tenant, members)
        if unread is None and self._forgotten(tenant):
            tenant, members = tenant.awake(), members.awake()
        if tenant.spec is None or tenant.meta.paused:
            return await self._hold(tenant, members, unread)
        return await self._live(tenant, tenant.spec, members, unread)

    async def _observe(self, family: Family) -> Members:
        raw = await self._cluster.get(TENANTS, family.namespace, family.tenant)
        listed = await self._cluster.objects(PIPELINES, family.namespace)
        parsed = [Pipeline.parse(item) for item in listed if family_of_pipeline(item) == family]
        parsed.sort(key=lambda pipeline: pipeline.meta.age)
        return Members(
            tenant=None if raw is None else Tenant.parse(raw),
            active=tuple(p for p in parsed if not p.meta.deleting),
            leaving=tuple(p for p in parsed if p.meta.deleting and p.meta.held),
        )

    def _forgotten(self, tenant: Tenant) -> bool:
        """Whether pods knew this tenant before the registry was lost.

        No pod may start before it knows every tenant, so writing it again waits for no pause.
        """
        id_ = _id(tenant)
        return tenant.status.get("id") == id_ and id_ not in self._registry.documents

    async def _retire_predecessors(self, family: Family, tenant: Tenant | None) -> None:
        """Takes out of the registry who had this name before and is gone."""
        current = None if tenant is None else _id(tenant)
        gone = [
            document.id
            for document in self._registry.documents.values()
            if (document.namespace, document.name) == (family.namespace, family.tenant)
            and document.id != current
        ]
        for id_ in gone:
            logger.warning("a tenant went without its cleanup", extra={"id": id_})
            repairs.note("registry")
            await attempt(self._registry.retire(id_))

    # A family without its tenant

    async def _without_tenant(self, members: Members) -> Verdict:
        retry = await self._release(members.leaving, None)
        await self._orphan(members.active)
        return Verdict(retry=retry)

    async def _orphan(self, pipelines: Sequence[Pipeline]) -> None:
        for pipeline in pipelines:
            await self._status.write(pipeline, findings.no_tenant(pipeline), {})

    async def _release(
        self, leaving: Sequence[Pipeline], tenant: TenantId | None, *, untold: bool = False
    ) -> bool:
        """Lets pipelines go; whether some could not. `untold`: the registry still names them."""
        stuck = False
        for p in leaving:
            with logs.bound(**p.log_fields):
                error = await attempt(self._removal.pipeline(p, tenant, untold=untold))
            stuck |= await self._tell_if_stuck(p, error)
        return stuck

    async def _force(self, waiting: Sequence[Pipeline], tenant: TenantId, error: object) -> bool:
        """Lets go, unheard of, those that are forced; whether some stay."""
        forced = [p for p in waiting if passes(p.meta.forced, error)]
        stuck = await self._release(forced, tenant, untold=True)
        staying = [p for p in waiting if p not in forced]
        for pipeline in staying:
            await self._tell_if_stuck(pipeline, error)
        return stuck or bool(staying)

    async def _tell_if_stuck(self, subject: Tenant | Pipeline, error: object) -> bool:
        """Says on the resource why it cannot go yet; whether that is so."""
        if not isinstance(error, OperatorError):
            return False
        await self._status.hold(subject, error.reason, f"deletion waits: {error.message}")
        return True

    # A tenant that is being deleted

    async def _leave(self, tenant: Tenant, members: Members) -> Verdict:
        id_ = _id(tenant)
        error = await attempt(self._registry.retire(id_))
        untold = passes(tenant.meta.forced, error)
        if isinstance(error, OperatorError) and not isinstance(error, BusyError) and not untold:
            return Verdict(retry=await self._tell_if_stuck(tenant, error))
        if not untold and not self._registry.settled(id_, self._settle):
            return Verdict(again_in=self._settle)
        if untold:
            retry = await self._force(members.leaving, id_, error)
        else:
            retry = await self._release(members.leaving, id_)
        if tenant.meta.held and not retry:
            everyone = [*members.active, *members.leaving]
            stuck = await attempt(self._removal.tenant(tenant, id_, everyone, untold=untold))
            retry = await self._tell_if_stuck(tenant, stuck)
        await self._orphan(members.active)
        return Verdict(retry=retry)

    # A tenant that is to be left alone

    async def _hold(
        self, tenant: Tenant, members: Members, unread: OperatorError | None
    ) -> Verdict:
        revoked = unread or await attempt(self._revoke(tenant))
        reason, message = _why_held(tenant)
        await self._status.hold(tenant, reason, message)
        for pipeline in (*members.active, *members.leaving):
            standing = await self._health.of(pipeline)
            await self._status.hold(pipeline, reason, f"its tenant is held: {message}", standing)
        return Verdict(retry=REVOKE in tenant.meta.annotations and _worth_retrying(revoked))

    async def _revoke(self, tenant: Tenant) -> None:
        """A leaked key waits for no pause: pods are told of its keys, and of nothing else anew."""
        prior = self._registry.documents.get(_id(tenant))
        if prior is None or REVOKE not in tenant.meta.annotations:
            return
        bound = await self._keys.bind(tenant, prior, (REVOKE,))
        ring = await self._keys.revoke(bound, prior)
        await self._registry.publish(msgspec.structs.replace(prior, keys=ring.keys))
        await self._keys.close(bound, (REVOKE,))

    # A tenant that lives

    async def _live(
        self, tenant: Tenant, spec: TenantSpec, members: Members, unread: OperatorError | None
    ) -> Verdict:
        await self._greet(tenant, members)
        schema = schemas.tenant_schema(tenant.meta)
        prior = self._registry.documents.get(schema.tenant_id)
        tenant, ring = await self._keyring(tenant, spec, schema, prior, unread)
        limit = await attempt(self._limits(spec))
        told = self._registry.documents.get(schema.tenant_id)  # of a revocation already
        draft = unread or _draft(schema, spec, ring, limit, told)
        if prior is not None and isinstance(draft, TenantDocument):
            early = documents.with_pipelines(draft, _staying(prior, members))
            if await attempt(self._registry.publish(early)) is True:
                repairs.note("registry")
        on_schema = await attempt(self._database.ensure_tenant(schema))
        made = await self._provision(schema, members.active)
        published = await self._publish(tenant, schema, draft, made, members, prior)
        closed = await self._close(tenant, ring, published)
        use = self._used(tenant, published)
        outcome = TenantOutcome(tenant, spec, schema, ring, limit, on_schema, published, use)
        await self._report(outcome, made, members.active)
        removed = await self._remove(schema.tenant_id, members.leaving, published, unread)
        failures = [ring, on_schema, published, closed, *made.values()]
        again_in = _earliest(removed.again_in, self._keys.due_in(ring))
        return Verdict(removed.retry or any(map(_worth_retrying, failures)), again_in)

    async def _keyring(
        self,
        tenant: Tenant,
        spec: TenantSpec,
        schema: TenantSchema,
        prior: TenantDocument | None,
        unread: OperatorError | None,
    ) -> tuple[Tenant, Keyring | OperatorError]:
        """The tenant with its requests bound, and its keys, or why they stay as they are.

        Where pods were told of keys that cannot be read now, none is replaced. Raises BusyError
        where the tenant has changed since it was read: then all is to be looked at anew.
        """
        if unread is not None and prior is None and tenant.status.get("id") == schema.tenant_id:
            return tenant, unread
        bound = await attempt(self._keys.bind(tenant, prior))
        if isinstance(bound, BusyError):
            raise bound
        if isinstance(bound, OperatorError):
            return tenant, bound
        return bound, await attempt(self._keys.ensure(bound, spec, schema.tenant_id, prior))

    async def _close(
        self,
        tenant: Tenant,
        ring: Keyring | OperatorError,
        published: TenantDocument | OperatorError,
    ) -> OperatorError | None:
        """Takes off the requests that pods have been told of."""
        if isinstance(ring, OperatorError) or isinstance(published, OperatorError):
            return None
        return await attempt(self._keys.close(tenant))

    async def _greet(self, tenant: Tenant, members: Members) -> None:
        """Our finalizer before anything is made, and a first word to who watches."""
        greeted: list[Tenant | Pipeline] = [tenant, *filter(_touchable, members.active)]
        for subject in greeted:
            if not subject.meta.held:
                repairs.note("finalizer", drift=repairs.applied(subject))
                await self._cluster.set_finalizer(subject.plural, subject.meta, present=True)
            await self._status.pending(subject, findings.dependencies(subject))

    async def _limits(self, spec: TenantSpec) -> contract.Limits:
        return limits.resolve(spec, self._tiers())

    def _used(self, tenant: Tenant, published: TenantDocument | OperatorError) -> Use:
        """A tenant's use; what its status shows, before Redis or the registry could be read."""
        shown = usage.told(tenant.status)
        if isinstance(published, OperatorError):
            return shown
        return usage.merged(shown, self._usage.of(published.id, published.limits))

    async def _provision(
        self, schema: TenantSchema, active: Sequence[Pipeline]
    ) -> dict[str, Provisioned]:
        """Topics and tables of all pipelines that may be touched, at once; by uid."""
        async with asyncio.TaskGroup() as group:
            tasks = {}
            for p in active:
                if p.spec is not None and _touchable(p):
                    with logs.bound(**p.log_fields):
                        made = self._pipelines.ensure(schema, p, p.spec)
                        tasks[p.meta.uid] = group.create_task(made)
        return {uid: task.result() for uid, task in tasks.items()}

    async def _publish(
        self,
        tenant: Tenant,
        schema: TenantSchema,
        draft: TenantDocument | OperatorError,
        made: Mapping[str, Provisioned],
        members: Members,
        prior: TenantDocument | None,
    ) -> TenantDocument | OperatorError:
        """The document that is published now, or why none is."""
        if isinstance(draft, OperatorError):
            return draft
        before = {} if prior is None else {item.uid: item for item in prior.pipelines}
        entries = [
            before.get(p.meta.uid)
            if p.meta.uid not in made
            else entry(schema, made[p.meta.uid], before.get(p.meta.uid))
            for p in members.active
        ]
        whole = documents.with_pipelines(draft, [item for item in entries if item is not None])
        outcome = await attempt(self._registry.publish(whole))
        if outcome is True:
            repairs.note("registry", drift=prior is None and repairs.applied(tenant))
        return outcome if isinstance(outcome, OperatorError) else whole

    async def _report(
        self,
        outcome: TenantOutcome,
        made: Mapping[str, Provisioned],
        active: Sequence[Pipeline],
    ) -> None:
        clashes = documents.conflicts(_claims(active, outcome))
        for pipeline in active:
            provisioned = made.get(pipeline.meta.uid)
            if provisioned is None:
                standing = await self._health.of(pipeline)
                unknown = pipeline.problem is not None and _unpublished(pipeline, outcome)
                why = _why_held(pipeline)
                await self._status.hold(pipeline, *why, standing, unready=unknown)
                continue
            found = findings.pipeline(
                provisioned, clashes.get(pipeline.meta.uid), outcome.published
            )
            facts = findings.pipeline_facts(provisioned)
            await self._status.write(pipeline, found, facts)
        found = findings.tenant(outcome, list(made.values()))
        await self._status.write(outcome.tenant, found, findings.tenant_facts(outcome))

    async def _remove(
        self,
        id_: TenantId,
        leaving: Sequence[Pipeline],
        published: TenantDocument | OperatorError,
        unread: OperatorError | None,
    ) -> Verdict:
        """Lets pipelines go, once the registry names them no more and pods know."""
        named = self._registry.documents.get(id_)
        uids = set() if named is None else {item.uid for item in named.pipelines}
        waiting = [p for p in leaving if unread is not None or p.meta.uid in uids]
        if waiting or not leaving:
            return Verdict(retry=await self._force(waiting, id_, published))
        if not self._registry.settled(id_, self._settle):
            return Verdict(again_in=self._settle)
        return Verdict(retry=await self._release(leaving, id_))


def _id(tenant: Tenant) -> TenantId:
    return names.tenant_id(tenant.meta.namespace, tenant.meta.name, tenant.meta.uid)


def _touchable(pipeline: Pipeline) -> bool:
    return pipeline.spec is not None and not pipeline.meta.paused


def _claims(
    active: Sequence[Pipeline], outcome: TenantOutcome
) -> Iterator[tuple[Meta, Sequence[str]]]:
    """What each pipeline claims; of a spec that is not understood, what is published of it."""
    published = outcome.published
    told = published.pipelines if isinstance(published, TenantDocument) else ()
    matches = {item.uid: item.match for item in told}
    for pipeline in active:
        spec, uid = pipeline.spec, pipeline.meta.uid
        match = matches.get(uid) if spec is None else spec.match
        if match is not None:
            yield pipeline.meta, match


def _unpublished(pipeline: Pipeline, outcome: TenantOutcome) -> bool:
    """Whether pods are known to have heard nothing of a pipeline."""
    published = outcome.published
    return isinstance(published, TenantDocument) and all(
        item.uid != pipeline.meta.uid for item in published.pipelines
    )


def _why_held(subject: Tenant | Pipeline) -> tuple[str, str]:
    if subject.problem is not None:
        return "InvalidSpec", subject.problem
    return "Paused", f"annotation {PAUSED}: nothing is applied until it is removed"


def _draft(
    schema: TenantSchema,
    spec: TenantSpec,
    ring: Keyring | OperatorError,
    limit: contract.Limits | OperatorError,
    prior: TenantDocument | None,
) -> TenantDocument | OperatorError:
    """The document without pipelines; what cannot be known now stays as it was published."""
    keys = prior.keys if prior is not None and isinstance(ring, OperatorError) else ring
    bounds = prior.limits if prior is not None and isinstance(limit, OperatorError) else limit
    if isinstance(keys, OperatorError):
        return keys
    if isinstance(bounds, OperatorError):
        return bounds
    held = keys.keys if isinstance(keys, Keyring) else keys
    return documents.document(schema, bounds, held, spec.suspended, ())


def _staying(prior: TenantDocument, members: Members) -> list[contract.Pipeline]:
    active = {pipeline.meta.uid for pipeline in members.active}
    return [item for item in prior.pipelines if item.uid in active]


def _earliest(*seconds: float | None) -> float | None:
    return min((some for some in seconds if some is not None), default=None)


def _worth_retrying(outcome: object) -> bool:
    if isinstance(outcome, Provisioned):
        return outcome.retriable
    return isinstance(outcome, OperatorError) and not isinstance(outcome, RefusedError)
