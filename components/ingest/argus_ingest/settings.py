"""The edge's settings: one validated object, from `ARGUS_…` environment variables."""

from ipaddress import IPv4Network, IPv6Network
from typing import Self

from argus_contract import sizes
from argus_runtime.settings import KafkaSettings, ProcessSettings, RedisSettings, Section
from pydantic import Field, model_validator

from argus_ingest.budget import RECORD, REQUEST


class HttpSettings(Section):
    """Where and how HTTP is served."""

    host: str = "0.0.0.0"  # noqa: S104  # a pod's address is not known before it runs
    """Address to listen on."""
    port: int = Field(default=8080, ge=0, le=65535)
    """TCP port; 0 takes a free one."""
    backlog: int = Field(default=2048, ge=1)
    """Connections that the kernel holds while the process is busy."""
    keep_alive: float = Field(default=75.0, gt=0)
    """Seconds an idle connection is kept: longer than load balancers do, which thus close first."""
    body_timeout: float = Field(default=10.0, gt=0)
    """Seconds in which a whole body must arrive, else 408."""
    drain: float = Field(default=5.0, ge=0)
    """Seconds between SIGTERM and closing the listener: the time endpoints take to forget a pod."""
    grace: float = Field(default=15.0, gt=0)
    """Seconds that requests in flight are then given; above `publish.delivery_timeout`."""


class LimitSettings(Section):
    """What one request may cost, and how the tenants' token buckets are asked."""

    body_bytes: int = Field(default=sizes.MAX_BODY, gt=0)
    """Largest body as sent, in bytes."""
    inflated_bytes: int = Field(default=sizes.MAX_INFLATED, gt=0)
    """Largest body after inflating, in bytes."""
    events: int = Field(default=sizes.MAX_EVENTS, gt=0)
    """Most events in one request."""
    bytes_in_flight: int = Field(default=96 * sizes.MIB, gt=0)
    """Bytes of bodies and unacknowledged records that the process holds before it answers 503; its
    memory grows by some three times as much."""
    tenant_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of `bytes_in_flight` that one tenant may hold while no other holds anything; the more
    tenants do, the less each may. With 0.5, n tenants may hold 1 / (n + 1) of it each, so there is
    room for one more."""
    redis_timeout: float = Field(default=0.1, gt=0)
    """Seconds that one call to the shared buckets may take. A check waits for the call before its
    own at most, so Redis delays no request by more than twice this, and that once an outage."""
    redis_calm: float = Field(default=0.05, gt=0)
    """Seconds that a call to them should take at most. What calls take beyond it adds up; at
    `redis_timeout` Redis counts as away, until it answers within this."""
    redis_pace: float = Field(default=0.005, ge=0)
    """Seconds from the beginning of one call to them to that of the next: what comes meanwhile is
    judged, and then published, together. A request that comes alone does not wait."""
    redis_retry: float = Field(default=0.5, gt=0)
    """Seconds between attempts to find the shared buckets again."""
    redis_cluster: bool = False
    """Whether the shared buckets are in a Redis Cluster, of which `redis.url` names a node."""
    local_buckets: int = Field(default=100_000, ge=2)
    """Most local buckets kept while Redis is away, and as many again of the generation before."""

    denials: int = Field(default=50_000, ge=1)
    """Most empty buckets remembered, by key or by key and address."""
    uses_interval: float = Field(default=60.0, gt=0)
    """Seconds between two times that it is written down when keys were last used."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        largest = REQUEST + self.body_bytes + 2 * self.inflated_bytes + RECORD * self.events
        if self.bytes_in_flight * self.tenant_share < largest:
            raise ValueError(
                f"tenant_share of bytes_in_flight must hold one largest request, {largest} bytes: "
                "its body, that inflated, its records"
            )
        return self


class FloodSettings(Section):
    """The guard that stands before everything else, per process and address."""

    rate: float = Field(default=10_000.0, gt=0)
    """Tokens a second for one address; a request takes one."""
    burst: float = Field(default=20_000.0, ge=1)
    """Most tokens of one address."""
    unauthorized_cost: float = Field(default=100.0, ge=0)
    """Further tokens taken by each 401: guessing keys is slow."""
    addresses: int = Field(default=50_000, ge=2)
    """Most addresses remembered, and as many again of the generation before."""


class PublishSettings(Section):
    """How events reach Kafka."""

    delivery_timeout: float = Field(default=5.0, gt=0)
    """Seconds from publishing to 503 when Kafka does not acknowledge."""
    batches_in_flight: int = Field(default=1, ge=1, le=5)
    """Batches of one partition handed to the client at once."""
    compression: str | None = Field(default="snappy", pattern="^(gzip|snappy|lz4|zstd)$")
    """Codec of the batches. For batches of 16 to 600 real events snappy costs 0.1 to 0.3 µs an
    event and makes them 3.3 to 3.9 times smaller, zstd 0.6 to 1.2 µs and 5.4 to 7.8 times."""


class PressureSettings(Section):
    """When a pipeline whose log nobody reads is refused."""

    interval: float = Field(default=1.0, gt=0)
    """Seconds between two looks at the log ends and the stream's commits."""
    threshold: float = Field(default=0.8, gt=0, lt=1)
    """Share of a topic's retention, in bytes or time, that may be unread."""
    stale_after: float = Field(default=30.0, gt=0)
    """Seconds after which the last look no longer counts and the pipeline is refused. Sooner if
    meanwhile the processes of the edge could have filled the room that it found, or if what was
    unread then could have expired."""
    record_bytes: float = Field(default=4096.0, gt=0)
    """Bytes that an unread record is taken to have where the broker tells no log sizes (managed
    ones may not implement DescribeLogDirs). Larger is safer and refuses sooner."""


class Settings(ProcessSettings):
    """Everything the edge can be told."""

    kafka: KafkaSettings
    """Brokers."""
    redis: RedisSettings = RedisSettings()
    """Shared token buckets."""
    http: HttpSettings = HttpSettings()
    """Listener."""
    limits: LimitSettings = LimitSettings()
    """Sizes and rates."""
    flood: FloodSettings = FloodSettings()
    """Guard per address."""
    publish: PublishSettings = PublishSettings()
    """Producer."""
    pressure: PressureSettings = PressureSettings()
    """Back-pressure."""
    replicas: int = Field(default=1, ge=1)
    """Processes of the edge; without Redis each gives a tenant this share of its limits."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks whose X-Forwarded-For is believed, as a JSON array of CIDRs."""
