import json
import shlex

from argus_cli.hints import curl, hints
from argus_contract.names import TenantId, TopicName
from argus_contract.registry import Bucket, Limits, Pipeline, TenantDocument

PIPELINE = Pipeline(
    uid="0",
    name="web",
    topic=TopicName("argus.shop.web.00000000"),
    dead_letter_topic=TopicName("argus.shop.web.00000000.dead"),
    partitions=1,
    schema="t_shop_web_00000000",
    table="events_web",
    window=1,
    dedupe_window=1,
    retention_bytes=1,
    retention_seconds=1,
)
BUCKET = Bucket(1, 1)
TENANT = TenantDocument(
    id=TenantId("shop.web.00000000"),
    namespace="shop",
    name="web",
    revision=1,
    limits=Limits(BUCKET, BUCKET),
    pipelines=(PIPELINE,),
)


def test_the_curl_line_survives_a_shell() -> None:
    words = shlex.split(curl("http://127.0.0.1:8080", "argus_public_x", '{"event":"a"}'))

    assert words[2] == "http://127.0.0.1:8080/v1/events"
    assert "Authorization: Bearer argus_public_x" in words
    assert json.loads(words[-1]) == {"event": "a"}


def test_the_hints_name_url_key_and_this_tenant_own_table() -> None:
    text = hints("http://127.0.0.1:8080", "argus_public_x", TENANT).plain

    assert "URL  http://127.0.0.1:8080" in text
    assert "Key  argus_public_x" in text
    assert "t_shop_web_00000000.events_web" in text
    assert "{shop.web.00000000}:live:web:" in text
