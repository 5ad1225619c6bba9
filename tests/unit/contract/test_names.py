"""Names fit their engines and never collide between a resource and its successor."""

import re
from uuid import uuid4

import pytest
from argus_contract import names
from hypothesis import given
from hypothesis import strategies as st

labels = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?\Z")
namespaces = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
uids = st.uuids().map(str)


@given(namespaces, labels, uids)
def test_topics_are_legal_in_kafka_and_fit_an_identifier(
    namespace: str, pipeline: str, uid: str
) -> None:
    topic = names.topic(namespace, pipeline, uid)
    assert re.fullmatch(r"argus\.[a-z0-9-]+\.[a-z0-9-]+\.[0-9a-f]{8}", topic)
    assert len(topic) <= names.MAX_IDENTIFIER


@given(namespaces, labels, uids)
def test_schemas_and_their_roles_fit_an_identifier(namespace: str, tenant: str, uid: str) -> None:
    schema = names.schema(namespace, tenant, uid)
    assert re.fullmatch(r"[a-z0-9_]+", schema)
    assert len(names.read_only_role(schema)) <= names.MAX_IDENTIFIER


@given(labels)
def test_tables_fit_an_identifier_even_with_the_suffix_of_a_retained_one(pipeline: str) -> None:
    for table in (names.table, names.rollup_table, names.ids_table):
        assert len(f"{table(pipeline)}_01234567") <= names.MAX_IDENTIFIER


def test_a_recreated_resource_has_other_names() -> None:
    old, new = str(uuid4()), str(uuid4())
    assert names.topic("ns", "web", old) != names.topic("ns", "web", new)
    assert names.tenant_id("ns", "shop", old) != names.tenant_id("ns", "shop", new)
    assert names.schema("ns", "shop", old) != names.schema("ns", "shop", new)


def test_short_names_are_kept_whole() -> None:
    uid = "0f8fad5b-d9cb-469f-a165-70867728950e"
    assert names.topic("demo", "web", uid) == "argus.demo.web.0f8fad5b"
    assert names.schema("demo-1", "my-shop", uid) == "t_demo_1_my_shop_0f8fad5b"
    assert names.tenant_id("demo", "shop", uid) == "demo.shop.0f8fad5b"


def test_a_uid_without_enough_digits_is_refused() -> None:
    with pytest.raises(ValueError, match="fewer than 8"):
        names.short_uid("zzz-12")
