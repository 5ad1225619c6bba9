"""Where the bench's engines are, as the product's own settings, from the chart's environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from argus_runtime.settings import DatabaseSettings, KafkaSettings, RedisSettings
from pydantic import SecretStr

from bench.chart import Chart
from bench.engines import HOST, KAFKA_PORT, POSTGRES_PORT, VALKEY_PORT

ADDRESSES: Final = {
    "ARGUS_KAFKA__BOOTSTRAP": f"{HOST}:{KAFKA_PORT}",
    "ARGUS_REDIS__URL": f"redis://{HOST}:{VALKEY_PORT}/0",
    "ARGUS_DATABASE__HOST": HOST,
    "ARGUS_DATABASE__PORT": str(POSTGRES_PORT),
}
"""What takes the place of the names that only a cluster knows."""


@dataclass(frozen=True, slots=True)
class Connections:
    """The engines as the operator reaches them."""

    kafka: KafkaSettings
    redis: RedisSettings
    database: DatabaseSettings
    stream_password: str
    reader_password: str


def connections(chart: Chart) -> Connections:
    """Those of the operator's pod, at the bench's addresses."""
    told = chart.environment("Deployment", "operator") | ADDRESSES
    return Connections(
        kafka=KafkaSettings.model_validate(_section(told, "KAFKA")),
        redis=RedisSettings.model_validate(_section(told, "REDIS")),
        database=DatabaseSettings.model_validate(_section(told, "DATABASE")),
        stream_password=told["ARGUS_STREAM_PASSWORD"],
        reader_password=told["ARGUS_READER_PASSWORD"],
    )


def _section(environment: Mapping[str, str], name: str) -> dict[str, str | SecretStr]:
    prefix = f"ARGUS_{name}__"
    return {
        variable.removeprefix(prefix).lower(): value
        for variable, value in environment.items()
        if variable.startswith(prefix)
    }
