"""The shared buckets in a Redis Cluster: one call a hash slot, and a tenant's buckets share one.

The calls of a tick go out together, each to the node that has its slot; redis-py follows slots that
move. A tick that fails for one tenant fails as a whole: local buckets then judge it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from argus_runtime import assets
from argus_runtime.settings import RedisSettings
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import NoScriptError, RedisClusterException

from argus_ingest.adapters import redis_buckets
from argus_ingest.adapters.redis_buckets import Call
from argus_ingest.buckets import Check, Verdict
from argus_ingest.limit import BucketsAwayError

TROUBLE: Final = (*redis_buckets.TROUBLE, RedisClusterException)


def connect(settings: RedisSettings) -> RedisCluster:
    """A client of the cluster that the node of `settings.url` belongs to."""
    password = settings.password
    options = {
        "password": None if password is None else password.get_secret_value(),
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": settings.timeout,
    }
    if settings.url.startswith("rediss://") and settings.ca_file is not None:
        options["ssl_ca_certs"] = str(settings.ca_file)
    return RedisCluster.from_url(settings.url, **options)


class RedisClusterBuckets:
    """Buckets spread over the nodes of a cluster."""

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster
        self._script = assets.path("lua", "token_bucket.lua").read_text()
        self._sha = ""

    async def connect(self) -> None:
        """Learns the slots anew and loads the script on every primary."""
        try:
            await self._cluster.aclose()
            await self._cluster.initialize()
            self._sha = await self._cluster.script_load(self._script)
        except TROUBLE as error:
            raise BucketsAwayError(str(error)) from error

    async def judge(self, checks: Sequence[Check]) -> list[Verdict]:
        """One call for each tenant among the checks, whose order each call keeps."""
        by_tenant: defaultdict[str, list[int]] = defaultdict(list)
        for index, check in enumerate(checks):
            by_tenant[check.tenant].append(index)
        portions = list(by_tenant.values())
        try:
            answers = await asyncio.gather(
                *(self._evaluate([checks[index] for index in portion]) for portion in portions)
            )
        except TROUBLE as error:
            raise BucketsAwayError(str(error)) from error
        judged = {
            index: verdict
            for portion, verdicts in zip(portions, answers, strict=True)
            for index, verdict in zip(portion, verdicts, strict=True)
        }
        return [judged[index] for index in range(len(checks))]

    async def close(self) -> None:
        """Disconnects from every node."""
        await self._cluster.aclose()

    async def _evaluate(self, checks: Sequence[Check]) -> list[Verdict]:
        call = Call(checks)
        keys, argument = call.keys, call.argument
        try:
            answer = await self._cluster.evalsha(self._sha, len(keys), *keys, argument)
        except NoScriptError:
            # A node that became a primary since: EVAL teaches it the script.
            answer = await self._cluster.eval(self._script, len(keys), *keys, argument)
        return call.verdicts(answer)
