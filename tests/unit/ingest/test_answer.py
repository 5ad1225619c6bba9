"""Problem documents and headers."""

import json
from pathlib import Path

import pytest
from argus_contract.events import Event
from argus_contract.keys import hash_key
from argus_contract.registry import Limits
from argus_ingest import answer, errors, openapi
from argus_ingest.buckets import DAY, KEY, MONTH, NOBODY, Verdict
from argus_ingest.errors import BusyError, ProblemError
from argus_ingest.site import create_site
from argus_ingest.tenants import Directory

from tests.unit.ingest.helpers import NOW, PLENTY, PUBLIC_KEY, SERVER_KEY, document

API_REFERENCE = Path(__file__).parents[3] / "docs" / "api.md"


@pytest.mark.parametrize("kind", openapi.problems())
def test_every_problem_is_a_document_in_the_reference_and_in_the_tree(
    kind: type[ProblemError],
) -> None:
    status, headers, body = answer.problem(kind("because"))
    assert json.loads(body) == {
        "type": f"urn:argus:problem:{kind.slug}",
        "title": kind.title,
        "status": status,
        "detail": "because",
    }
    assert (b"content-type", b"application/problem+json") in headers
    assert f"`{kind.slug}`" in API_REFERENCE.read_text()
    assert kind.__name__ in (errors.__doc__ or "")


def test_no_two_problems_have_one_type() -> None:
    slugs = [kind.slug for kind in openapi.problems()]
    assert len(set(slugs)) == len(slugs) > 20


@pytest.mark.parametrize(("seconds", "header"), [(0.01, b"1"), (1.0, b"1"), (1.2, b"2")])
def test_retry_after_is_whole_seconds_and_never_too_early(seconds: float, header: bytes) -> None:
    assert (b"retry-after", header) in answer.problem(BusyError("x", retry_after=seconds)).headers


def test_rate_limit_headers_name_the_buckets_that_count() -> None:
    directory = Directory()
    directory.update({document().id: document()})
    server = directory.accesses[hash_key(SERVER_KEY)]
    public = directory.accesses[hash_key(PUBLIC_KEY)]
    assert answer.limit_headers(server, Verdict(NOBODY, 0, 0, 0, 7)) == [
        (b"ratelimit-policy", b'"key";q=1000000;w=1'),
        (b"ratelimit", b'"key";r=7'),
    ]
    assert answer.limit_headers(public, Verdict(KEY, 1_500_000, 0, 3, 7)) == [
        (b"ratelimit-policy", b'"key";q=1000000;w=1, "ip";q=1000000;w=1'),
        (b"ratelimit", b'"key";r=7;t=2, "ip";r=3;t=2'),
    ]


HOUR = 3_600_000_000


@pytest.mark.parametrize(
    ("refused", "wait", "members"),
    [
        (DAY, 16 * HOUR, {"quota": "day", "limit": 5_000, "resetsAt": "2027-01-16T00:00:00Z"}),
        (MONTH, 400 * HOUR, {"quota": "month", "limit": 9_000, "resetsAt": "2027-02-01T00:00:00Z"}),
        (
            DAY | MONTH,
            400 * HOUR,
            {"quota": "month", "limit": 9_000, "resetsAt": "2027-02-01T00:00:00Z"},
        ),
    ],
)
@pytest.mark.parametrize("late", [-700_000, 0, 700_000])
def test_a_quota_is_refused_until_a_midnight_whatever_the_clocks_differ_by(
    refused: int, wait: int, members: dict[str, object], late: int
) -> None:
    directory = Directory()
    limits = Limits(PLENTY, PLENTY, daily=5_000, monthly=9_000)
    directory.update({document().id: document(limits=limits)})
    access, verdict = directory.accesses[hash_key(PUBLIC_KEY)], Verdict(refused, wait, 0, 0, 3)
    status, headers, body = answer.problem(answer.limited(access, verdict, NOW + late))
    problem = json.loads(body)
    assert (status, problem["type"]) == (429, "urn:argus:problem:quota-exceeded")
    assert {name: problem[name] for name in members} == members
    seconds = b"%d" % (wait // 1_000_000)
    assert (b"retry-after", seconds) in headers
    named = str(members["quota"]).encode()
    assert (b"ratelimit", b'"%b";r=3;t=%b' % (named, seconds)) in headers
    assert access.policy in headers


def test_the_openapi_document_describes_every_status() -> None:
    described = create_site().openapi()
    operation = described["paths"]["/v1/events"]["post"]
    statuses = {str(kind.status) for kind in openapi.problems()}
    assert set(operation["responses"]) == statuses | {"202"}
    schemas = described["components"]["schemas"]
    kinds = [schemas[one["$ref"].rpartition("/")[2]] for one in schemas["Event"]["oneOf"]]
    assert [kind["required"] for kind in kinds] == [
        ["event"],
        *[["event", "properties"]] * 3,
        ["event", "properties", "value"],
    ]
    assert all(kind["additionalProperties"] is False for kind in kinds)
    assert {*kinds[0]["properties"]} == {*Event.__struct_fields__}
    assert schemas["Accepted"]["properties"].keys() == {"accepted", "rejected"}


def test_the_openapi_document_is_the_same_each_time() -> None:
    site = create_site()
    assert site.openapi() == site.openapi() == create_site().openapi()
