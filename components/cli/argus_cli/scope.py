"""Which tenants' pipelines a command is about: what `--tenant` and `--pipeline` say.

Pure: it is held against the registry's documents.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import typer
from argus_contract.registry import Pipeline, TenantDocument


class Name(NamedTuple):
    """A resource's name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str | None, option: str) -> "Name | None":
        """The name in `namespace/name`; raises typer.BadParameter for another text."""
        if text is None:
            return None
        namespace, slash, name = text.partition("/")
        if not (namespace and slash and name) or "/" in name:
            raise typer.BadParameter("give it as namespace/name", param_hint=option)
        return cls(namespace, name)


class Route(NamedTuple):
    """A pipeline, and whose it is."""

    tenant: TenantDocument
    pipeline: Pipeline

    @property
    def name(self) -> str:
        """`<namespace>/<pipeline>`, as kubectl and `--pipeline` name it."""
        return f"{self.tenant.namespace}/{self.pipeline.name}"


@dataclass(frozen=True, slots=True)
class Scope:
    """One tenant, one pipeline, or all."""

    tenant: Name | None = None
    pipeline: Name | None = None

    @classmethod
    def parse(cls, tenant: str | None, pipeline: str | None) -> "Scope":
        """The scope of both options; raises typer.BadParameter."""
        return cls(Name.parse(tenant, "--tenant"), Name.parse(pipeline, "--pipeline"))

    @property
    def owner(self) -> tuple[str | None, str | None]:
        """Namespace and name of the one tenant; the namespace alone is a pipeline's."""
        if self.tenant is not None:
            return self.tenant
        return (None if self.pipeline is None else self.pipeline.namespace), None

    def takes(self, namespace: str, tenant: str, pipeline: str) -> bool:
        """Whether this pipeline of this tenant is meant."""
        return self.tenant in (None, (namespace, tenant)) and self.pipeline in (
            None,
            (namespace, pipeline),
        )

    def routes(self, documents: Iterable[TenantDocument]) -> list[Route]:
        """The pipelines of these documents that are meant, in order of their names."""
        found = [
            Route(document, pipeline)
            for document in documents
            for pipeline in document.pipelines
            if self.takes(document.namespace, document.name, pipeline.name)
        ]
        return sorted(found, key=lambda route: route.name)

    def __str__(self) -> str:
        named = [
            f"{what} {name}"
            for what, name in (("pipeline", self.pipeline), ("tenant", self.tenant))
            if name
        ]
        return " of ".join(named) or "pipeline"
