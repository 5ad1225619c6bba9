import asyncpg
from argus_contract.items import Accepted
from argus_contract.judge import judge
from argus_contract.records import of_event

from tests.chaos.traffic import Shape, Traffic
from tests.chaos.verify import stored_rows
from tests.integration.stream.world import Message, World, micros
from tests.unit.chaos.test_traffic import items

REQUESTS = 30


async def test_rows_have_the_digests_of_what_the_load_sent(world: World) -> None:
    pipeline = await world.add_pipeline("web", partitions=1)
    traffic = Traffic(Shape(malformed=0.2), seed=3)
    sent: dict[bytes, bytes] = {}
    messages: list[Message] = []
    for request in (traffic.next() for _ in range(REQUESTS)):
        for raw, item in zip(items(request), request.items, strict=True):
            if item.code is None:
                accepted = judge(raw, 0)
                assert isinstance(accepted, Accepted)
                record = of_event(accepted, pipeline, micros(), iter(()))
                messages.append(Message(record.value, record.headers, key=record.key))
                sent[item.id] = item.content

    async with world.stream():
        await world.produce(pipeline, messages)
        await world.settled(pipeline, len(messages))
    reader = await asyncpg.connect(world.database)
    try:
        ids, contents = await stored_rows(f"{pipeline.schema}.{pipeline.table}", reader)
    finally:
        await reader.close()

    assert sorted(ids) == sorted(sent)
    assert [one for one, content in sent.items() if content not in contents[one]] == []
