"""Which pipeline of a tenant takes an event, by its name.

An exact name beats a prefix, a longer prefix beats a shorter one, and the tenant's default takes
the rest. Of two pipelines that claim the same pattern the first in the document wins; the operator
puts the older one first.
"""

from collections.abc import Iterable
from typing import Final

from argus_contract.registry import Pipeline

WILDCARD: Final = "*"


class Router:
    """Routes event names among the pipelines of one tenant."""

    def __init__(self, pipelines: Iterable[Pipeline]) -> None:
        self._exact: dict[str, Pipeline] = {}
        self._default: Pipeline | None = None
        prefixes: dict[str, Pipeline] = {}
        for pipeline in pipelines:
            if not pipeline.match and self._default is None:
                self._default = pipeline
            for pattern in pipeline.match:
                if pattern.endswith(WILDCARD):
                    prefixes.setdefault(pattern.removesuffix(WILDCARD), pipeline)
                else:
                    self._exact.setdefault(pattern, pipeline)
        self._prefixes = sorted(prefixes.items(), key=lambda item: len(item[0]), reverse=True)

    @property
    def default(self) -> Pipeline | None:
        """Takes what no pattern takes, and rejects without a name; None if there is none."""
        return self._default

    def route(self, event: str) -> Pipeline | None:
        """The pipeline for this event name, None where no pipeline takes it."""
        exact = self._exact.get(event)
        if exact is not None:
            return exact
        for prefix, pipeline in self._prefixes:
            if event.startswith(prefix):
                return pipeline
        return self._default
