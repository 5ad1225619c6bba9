"""Where the console finds the installation: the variables that `make env` prints.

Inside of the cluster it understands those of the other processes as well (ARGUS_KAFKA__BOOTSTRAP,
ARGUS_DATABASE__HOST, …), so it runs in any of their pods. Each command asks for what it needs and
no more, so `argus ledger` works with a database alone.
"""

from pathlib import Path
from typing import Final

from argus_contract.names import REGISTRY_TOPIC
from argus_runtime.settings import (
    DatabaseSettings,
    KafkaSecurity,
    KafkaSettings,
    RedisSettings,
    SaslMechanism,
)
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from argus_cli.errors import MissingSettingError

_REDIS_TIMEOUT_S: Final = 5.0


class Settings(BaseSettings):
    """Read from `ARGUS_…`; all optional until a command asks."""

    model_config = SettingsConfigDict(
        env_prefix="ARGUS_",
        env_nested_delimiter="__",
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    url: str | None = None
    """Base URL of ingest, such as `http://127.0.0.1:8080`."""
    api_key: SecretStr | None = None
    """An API key of the tenant to send as."""
    database_url: SecretStr | None = None
    """PostgreSQL URL of a role that reads schema `argus` and the tenants' schemas."""
    database: DatabaseSettings | None = None
    """The same in parts, as the other processes have it; the URL comes first."""
    redis_url: SecretStr | None = None
    """Redis URL with its password."""
    redis: RedisSettings | None = None
    """The same in parts; the URL comes first."""
    kafka: KafkaSettings | str | None = None
    """Brokers as `host:port`, separated by commas; or in parts, as the other processes have it."""
    kafka_username: str | None = None
    """SASL user; absent: no SASL."""
    kafka_password: SecretStr | None = None
    """SASL password."""
    kafka_security: KafkaSecurity | None = None
    """Protocol; absent: `sasl_plaintext` with a user, else `plaintext`."""
    kafka_mechanism: SaslMechanism = SaslMechanism.PLAIN
    """SASL mechanism."""
    kafka_ca_file: Path | None = None
    """PEM bundle for the `…ssl` protocols; the system's if absent."""
    registry_topic: str = REGISTRY_TOPIC
    """Compacted topic that carries the registry."""

    def require_url(self) -> str:
        """The base URL; raises MissingSettingError."""
        if not self.url:
            raise MissingSettingError("ARGUS_URL", "where to send events")
        return self.url.rstrip("/")

    def require_api_key(self) -> str:
        """The API key in clear; raises MissingSettingError."""
        if self.api_key is None:
            raise MissingSettingError("ARGUS_API_KEY", "the key of the tenant to send as")
        return self.api_key.get_secret_value()

    def require_database(self) -> str | DatabaseSettings:
        """The database's URL with its password, or its parts; raises MissingSettingError."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        if self.database is None:
            raise MissingSettingError("ARGUS_DATABASE_URL", "where the ledger and the rows are")
        return self.database

    def require_redis(self) -> RedisSettings:
        """Settings for the Redis client; raises MissingSettingError."""
        if self.redis_url is not None:
            return RedisSettings(url=self.redis_url.get_secret_value(), timeout=_REDIS_TIMEOUT_S)
        if self.redis is None:
            raise MissingSettingError("ARGUS_REDIS_URL", "where the live counters are")
        return self.redis

    def require_kafka(self) -> KafkaSettings:
        """Settings for a Kafka client; raises MissingSettingError."""
        if not self.kafka:
            raise MissingSettingError("ARGUS_KAFKA", "where the log and the dead letters are")
        if isinstance(self.kafka, KafkaSettings):
            return self.kafka
        secured = KafkaSecurity.SASL_PLAINTEXT if self.kafka_username else KafkaSecurity.PLAINTEXT
        return KafkaSettings(
            bootstrap=self.kafka,
            security=self.kafka_security or secured,
            mechanism=self.kafka_mechanism,
            username=self.kafka_username,
            password=self.kafka_password,
            ca_file=self.kafka_ca_file,
        )
