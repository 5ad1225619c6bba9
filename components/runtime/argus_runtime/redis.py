"""The Redis client, as every process wants it: short timeouts and no hidden retries."""

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from argus_runtime.settings import RedisSettings


def connect(settings: RedisSettings, *, max_connections: int = 8) -> Redis:
    """A client that connects on first use and raises redis.RedisError at once on trouble.

    It does not retry by itself: each caller states how long it may wait and what it does then.
    """
    secure: dict[str, Any] = {}
    if settings.url.startswith("rediss://") and settings.ca_file is not None:
        secure["ssl_ca_certs"] = str(settings.ca_file)
    password = settings.password
    return Redis.from_url(
        settings.url,
        password=None if password is None else password.get_secret_value(),
        socket_timeout=settings.timeout,
        socket_connect_timeout=settings.timeout,
        retry=Retry(NoBackoff(), 0),
        max_connections=max_connections,
        **secure,
    )
