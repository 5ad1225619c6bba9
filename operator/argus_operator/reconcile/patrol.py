"""A look at every tenant's Secret in turn, since nothing else tells that one was changed by hand.

The operator may neither list nor watch Secrets: that would be everybody's. So each is asked for by
its name, evenly spread over the interval, and only its version is kept.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from argus_contract import names

from argus_operator.errors import OperatorError
from argus_operator.models.common import Raw
from argus_operator.ports import Cluster
from argus_operator.resources import Family, family_of_tenant

logger = logging.getLogger(__name__)

_IDLE_S: Final = 1.0


class Patrol:
    """Wakes families whose Secret is another than at the last look; `run` is a supervised task."""

    def __init__(self, cluster: Cluster, wake: Callable[[Family], None], interval: float) -> None:
        """`interval`: seconds in which each Secret is looked at once."""
        self._cluster = cluster
        self._wake = wake
        self._interval = interval
        self._families: list[Family] = []
        self._versions: dict[Family, str | None] = {}

    def guard(self, tenants: Iterable[Raw]) -> None:
        """Says which tenants there are."""
        self._families = [family_of_tenant(raw) for raw in tenants]
        self._versions = {
            family: self._versions[family] for family in self._families if family in self._versions
        }

    async def run(self) -> None:
        """Goes round until cancelled."""
        while True:
            families = self._families
            for family in families:
                await self._look(family)
                await asyncio.sleep(self._interval / len(families))
            if not families:
                await asyncio.sleep(min(_IDLE_S, self._interval))

    async def _look(self, family: Family) -> None:
        """One Secret; the first look wakes too, for it may have changed since it was repaired."""
        secret = names.key_secret(family.tenant)
        try:
            found = await self._cluster.get_secret(family.namespace, secret)
        except OperatorError as error:
            logger.warning("patrol", extra={"tenant": str(family), "reason": error.message})
            return
        version = None if found is None else found.resource_version
        if family in self._versions and self._versions[family] == version:
            return
        self._versions[family] = version
        self._wake(family)
