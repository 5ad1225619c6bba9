"""What another hand does to the engines behind the operator's back."""

from argus_contract import names
from argus_operator.models.pipeline import PLURAL as PIPELINES
from argus_operator.topics import Configure

from tests.integration.operator.stage import Stage
from tests.unit.operator.world import WEB


async def topic_gone(stage: Stage) -> None:
    await stage.kafka.delete([await stage.topic()])


async def letters_gone(stage: Stage) -> None:
    await stage.kafka.delete([names.dead_letter_topic(await stage.topic())])


async def topic_configured(stage: Stage) -> None:
    topic = await stage.topic()
    configs = dict((await stage.topics())[topic].configs)
    wanted = {"retention.ms": "60000", "segment.bytes": configs["segment.bytes"]}
    await stage.kafka.apply([Configure(topic, wanted)])


async def table_gone(stage: Stage) -> None:
    await stage.lose_table(await stage.uid(PIPELINES, WEB))


async def document_gone(stage: Stage) -> None:
    await stage.lose_document(await stage.id())


DRIFTS = (topic_gone, letters_gone, topic_configured, table_gone, document_gone)
"""But for the Secret: a key that is lost is not put back, another is made."""
