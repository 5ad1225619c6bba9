"""A pipeline's own dependencies: its topics and its tables.

Topics of `topic.external` are looked at and never touched: neither made nor configured, and not
counted against the disk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from argus_contract import registry as contract
from argus_contract.names import TopicName

from argus_operator import conditions, documents, schemas, topics
from argus_operator.conditions import SCHEMAS_READY, TOPICS_READY, Finding
from argus_operator.errors import BusyError, OperatorError, RefusedError
from argus_operator.models import units
from argus_operator.models.pipeline import PipelineSpec
from argus_operator.ports import Schemas, Topics
from argus_operator.reconcile import repairs
from argus_operator.reconcile.attempt import attempt
from argus_operator.reconcile.health import Health, Standing
from argus_operator.resources import Pipeline
from argus_operator.schemas import PipelineObserved, TenantSchema
from argus_operator.topics import DiskBudget, TopicState

TOPIC_PREFIX = "argus."


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What there is of a pipeline after this attempt."""

    pipeline: Pipeline
    spec: PipelineSpec
    topics: Finding
    schemas: Finding
    standing: Standing
    topic: TopicState | None
    tables: PipelineObserved | None

    @property
    def retriable(self) -> bool:
        """Whether another attempt may help."""
        return not (self.topics.good and self.schemas.good)


class PipelineStep:
    """Makes topics and tables what the spec asks for."""

    def __init__(
        self,
        kafka: Topics,
        database: Schemas,
        health: Health,
        budget: DiskBudget,
        min_insync: int,
    ) -> None:
        self._kafka = kafka
        self._database = database
        self._health = health
        self._budget = budget
        self._min_insync = min_insync

    async def ensure(
        self, tenant: TenantSchema, pipeline: Pipeline, spec: PipelineSpec
    ) -> Provisioned:
        """Does what can be done now; failures are findings, each dependency's for itself."""
        logs = self._verify if pipeline.external else self._topics
        outcome = await attempt(logs(pipeline, spec))
        if isinstance(outcome, OperatorError):
            topic, on_topics = None, conditions.failed(TOPICS_READY, outcome)
        else:
            topic, on_topics = outcome
        partitions = spec.topic.partitions if topic is None else topic.partitions
        tables = await attempt(self._tables(tenant, pipeline, spec, partitions))
        if isinstance(tables, OperatorError):
            found, on_schemas = None, conditions.failed(SCHEMAS_READY, tables)
        else:
            found, on_schemas = tables, _tables_finding(tables)
        standing = await self._health.of(pipeline)
        return Provisioned(pipeline, spec, on_topics, on_schemas, standing, topic, found)

    async def _topics(
        self, pipeline: Pipeline, spec: PipelineSpec
    ) -> tuple[TopicState | None, Finding]:
        name, _ = both = pipeline.logs.both
        observed = await self._kafka.observe(both)
        _check_readable(observed)
        wanted = self._wanted(pipeline, spec, observed.get(both[0]), observed.get(both[1]))
        if name not in observed:
            try:
                await self._check_unread(pipeline, name)
            except RefusedError as error:
                gone = TopicState(wanted[0].partitions, wanted[0].configs)
                return gone, conditions.failed(TOPICS_READY, error)
        if not self._budget.fresh:
            self._budget.observe(await self._kafka.matching(TOPIC_PREFIX))
        try:
            await self._spare_unread(wanted[0], observed.get(name))
            self._budget.reserve({topic.name: _asks(topic) for topic in wanted})
        except (RefusedError, BusyError) as error:
            return observed.get(name), conditions.failed(TOPICS_READY, error)
        actions = [
            action for topic in wanted for action in topics.plan(topic, observed.get(topic.name))
        ]
        if actions:
            _note(pipeline, actions)
            await self._kafka.apply(actions)
            observed = await self._kafka.observe(both)
        return observed.get(name), _topics_finding(spec, wanted[0].name, observed.get(name))

    async def _verify(
        self, pipeline: Pipeline, spec: PipelineSpec
    ) -> tuple[TopicState | None, Finding]:
        """What another's topics are; raises RefusedError where one is missing or cannot be used."""
        logs = pipeline.logs
        observed = await self._kafka.observe(logs.both)
        missing = [name for name in logs.both if name not in observed]
        if missing:
            raise RefusedError(
                "TopicMissing",
                f"Kafka has no topic {' and no topic '.join(missing)}: topic.external says that "
                "somebody else makes them. Ask whoever does; it is looked for again until then",
            )
        for name in logs.both:
            problem = topics.misfit(name, observed[name], letters=name == logs.letters)
            if problem is not None:
                raise RefusedError("TopicUnsuitable", problem)
        state = topics.bounded(observed[logs.events], spec)
        return state, _external_finding(logs.events, observed[logs.events], state)

    async def _check_unread(self, pipeline: Pipeline, name: TopicName) -> None:
        """Raises RefusedError for a topic that must not be made again, since it was read before.

        Made anew it would begin at offset 0, the ledger goes on where it stands: what is accepted
        in between would never be stored. So the pipeline stays in the registry and ingest, which
        finds no topic, answers 503.
        """
        if pipeline.status.get("topic") != name:
            return
        offset = await self._database.position(name)
        if offset > 0:
            raise RefusedError(
                "TopicLost",
                f"topic {name} is gone, with whatever of it was not stored yet; the ledger stands "
                f"at offset {offset}, so it cannot be made anew, and events are refused with 503: "
                "restore the topic, or delete this pipeline (Retain keeps its rows) and create it "
                "again",
            )

    async def _spare_unread(self, wanted: topics.TopicSpec, observed: TopicState | None) -> None:
        """Raises BusyError where a shorter retention might delete what is not stored yet."""
        if observed is None or not topics.lowers(wanted, observed):
            return
        retention_ms = int(wanted.configs[topics.RETENTION_MS])
        backlog = await self._kafka.backlog(wanted.name, observed.partitions, retention_ms)
        if topics.endangers(wanted, observed, backlog):
            raise BusyError(
                "UnreadEvents",
                f"{backlog.share:.0%} of what a partition of topic {wanted.name} holds is not "
                "stored yet and might be deleted: it is kept shorter once that is stored "
                "(added partitions share topic.retention.bytes with the others)",
            )

    def _wanted(
        self,
        pipeline: Pipeline,
        spec: PipelineSpec,
        events: TopicState | None,
        letters: TopicState | None,
    ) -> tuple[topics.TopicSpec, topics.TopicSpec]:
        held = [0 if state is None else state.partitions for state in (events, letters)]
        meta, insync = pipeline.meta, self._min_insync
        return (
            topics.event_topic(meta, spec, held[0], insync),
            topics.dead_letter_topic(meta, spec, held[1], insync),
        )

    async def _tables(
        self, tenant: TenantSchema, pipeline: Pipeline, spec: PipelineSpec, partitions: int
    ) -> PipelineObserved:
        wanted = schemas.pipeline_tables(tenant, pipeline.meta, spec, partitions)
        observed = await self._database.observe_pipeline(pipeline.meta.uid)
        schemas.check_owner(wanted, observed, pipeline.status.get("schema"))
        in_step = schemas.in_step(wanted, observed)
        if not in_step:
            repairs.note("tables", drift=repairs.applied(pipeline))
        await self._database.ensure_pipeline(wanted)
        if in_step:
            return observed
        return await self._database.observe_pipeline(pipeline.meta.uid)


def _note(pipeline: Pipeline, actions: Sequence[topics.Action]) -> None:
    drift = repairs.applied(pipeline)
    for action in actions:
        what = "topic_config" if isinstance(action, topics.Configure) else "topic"
        repairs.note(what, drift=drift)


def _check_readable(observed: Mapping[TopicName, TopicState]) -> None:
    """Raises RefusedError where drift of a topic of ours could not be seen."""
    for name, state in observed.items():
        if not state.readable:
            raise RefusedError(
                "KafkaForbidden",
                f"Kafka does not let the operator read the configuration of topic {name}, which it "
                "has to keep as the spec says: grant its user DescribeConfigs, AlterConfigs and "
                "Alter on topics that begin with `argus.`, or make a pipeline with topic.external",
            )


def _asks(topic: topics.TopicSpec) -> int:
    return TopicState(topic.partitions, topic.configs).retention_bytes


def _topics_finding(spec: PipelineSpec, name: str, state: TopicState | None) -> Finding:
    if state is None:
        return conditions.bad(TOPICS_READY, "TopicVanished", f"topic {name} was deleted meanwhile")
    message = f"topic {name} has {state.partitions} partitions"
    if state.partitions > spec.topic.partitions:
        message += f", more than the {spec.topic.partitions} of the spec: Kafka removes none"
    return conditions.good(TOPICS_READY, "TopicsExist", message)


def _external_finding(name: TopicName, observed: TopicState, state: TopicState) -> Finding:
    kept = f"{units.in_words(state.retention_bytes)} and {state.retention_seconds // 3600} h"
    bounds = (topics.RETENTION_BYTES, topics.RETENTION_MS)
    told = all(observed.configs.get(bound) == state.configs[bound] for bound in bounds)
    by = "as Kafka tells" if told else "by topic.retention where Kafka tells of no bound"
    return conditions.good(
        TOPICS_READY,
        "TopicsExist",
        f"topic {name} is another's and has {state.partitions} partitions; what it may keep "
        f"unread is judged by {kept}, {by}",
    )


def _tables_finding(tables: PipelineObserved) -> Finding:
    return conditions.good(
        SCHEMAS_READY, "TablesExist", f"rows go to {tables.schema}.{tables.events_table}"
    )


def entry(
    tenant: TenantSchema, made: Provisioned, prior: contract.Pipeline | None
) -> contract.Pipeline | None:
    """The pipeline as the data path shall know it; None while it cannot take events yet.

    What was published stays published: where a dependency is away, its facts are the prior ones.
    Where the registry itself was lost, the status tells that there were tables once.
    """
    known = made.topic if prior is None or made.topic is not None else _topic_of(prior)
    had_tables = made.pipeline.status.get("schema") == tenant.schema
    if known is None or (prior is None and not (made.schemas.good or had_tables)):
        return None
    current = documents.entry(tenant, made.pipeline.meta, made.spec, known)
    if prior is None or made.schemas.good:
        return current
    return msgspec.structs.replace(current, window=prior.window, dedupe_window=prior.dedupe_window)


def _topic_of(prior: contract.Pipeline) -> TopicState:
    return TopicState(
        prior.partitions,
        {
            topics.RETENTION_BYTES: str(prior.retention_bytes // prior.partitions),
            topics.RETENTION_MS: str(prior.retention_seconds * 1000),
        },
    )
