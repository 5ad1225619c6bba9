import pytest
import typer
from argus_cli.scope import Scope
from argus_contract.names import TenantId
from argus_contract.registry import Bucket, Limits, Pipeline, TenantDocument
from msgspec.structs import replace

from tests.unit.cli.dead_letters import PIPELINE

LIMITS = Limits(per_key=Bucket(1, 1), per_ip=Bucket(1, 1))


def tenant(namespace: str, name: str, *pipelines: Pipeline) -> TenantDocument:
    return TenantDocument(
        TenantId(f"{namespace}.{name}"), namespace, name, 1, LIMITS, pipelines=pipelines
    )


API = replace(PIPELINE, name="api")
DOCUMENTS = [
    tenant("shop", "acme", PIPELINE, API),
    tenant("shop", "other", replace(PIPELINE, name="logs")),
    tenant("bank", "acme", PIPELINE),
]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ((None, None), ["bank/web", "shop/api", "shop/logs", "shop/web"]),
        (("shop/acme", None), ["shop/api", "shop/web"]),
        ((None, "shop/web"), ["shop/web"]),
        (("shop/acme", "shop/api"), ["shop/api"]),
        (("shop/other", "shop/web"), []),
        (("nobody/acme", None), []),
    ],
)
def test_the_pipelines_that_both_options_mean(
    given: tuple[str | None, str | None], names: list[str]
) -> None:
    scope = Scope.parse(*given)

    assert [route.name for route in scope.routes(DOCUMENTS)] == names
    taken = [
        f"{document.namespace}/{pipeline.name}"
        for document in DOCUMENTS
        for pipeline in document.pipelines
        if scope.takes(document.namespace, document.name, pipeline.name)
    ]
    assert sorted(taken) == names


@pytest.mark.parametrize("text", ["", "shop", "shop/", "/acme", "a/b/c"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="namespace/name"):
        Scope.parse(text, None)
    with pytest.raises(typer.BadParameter, match="namespace/name"):
        Scope.parse(None, text)


def test_a_scope_names_itself() -> None:
    assert str(Scope.parse("shop/acme", "shop/web")) == "pipeline shop/web of tenant shop/acme"
    assert str(Scope()) == "pipeline"
