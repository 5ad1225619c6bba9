"""Settings that processes share, read from `ARGUS_…` environment variables.

Sections nest with `__`: ARGUS_KAFKA__BOOTSTRAP is `kafka.bootstrap`. A component subclasses
`ProcessSettings`, adds the sections it needs, and is validated whole before anything starts.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from argus_contract.names import REGISTRY_TOPIC
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class KafkaSecurity(StrEnum):
    """How the connection to a broker is protected."""

    PLAINTEXT = "plaintext"
    SSL = "ssl"
    SASL_PLAINTEXT = "sasl_plaintext"
    SASL_SSL = "sasl_ssl"


class SaslMechanism(StrEnum):
    """How a client proves its name to a broker."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class DatabaseTls(StrEnum):
    """libpq's sslmode, less the modes that fall back to clear text."""

    DISABLE = "disable"
    REQUIRE = "require"
    VERIFY_FULL = "verify-full"


class KafkaSettings(Section):
    """Where Kafka is and how to reach it."""

    bootstrap: str
    """Brokers as `host:port`, separated by commas."""
    security: KafkaSecurity = KafkaSecurity.PLAINTEXT
    """Protocol of the connection."""
    mechanism: SaslMechanism = SaslMechanism.PLAIN
    """SASL mechanism; used only with the `sasl_…` protocols."""
    username: str | None = None
    """SASL user."""
    password: SecretStr | None = None
    """SASL password."""
    ca_file: Path | None = None
    """PEM bundle that the brokers' certificates are checked against; the system's if absent."""
    request_timeout: float = Field(default=10.0, gt=0)
    """Seconds that one request may take, and so that a vanished broker is waited for; Event Hubs
    wants at least 60."""
    metadata_max_age: float = Field(default=60.0, gt=0)
    """Seconds after which topic metadata is fetched again; Event Hubs wants at most 180."""
    connections_max_idle: float = Field(default=180.0, gt=0)
    """Seconds after which an idle connection is closed; Azure's load balancers cut at 240."""


class RedisSettings(Section):
    """Where Redis or Valkey is."""

    url: str = "redis://localhost:6379/0"
    """`redis://` or, with TLS, `rediss://`; the password is a setting of its own."""
    password: SecretStr | None = None
    """Password of the default user."""
    ca_file: Path | None = None
    """PEM bundle for `rediss://`; the system's if absent."""
    timeout: float = Field(default=1.0, gt=0)
    """Seconds that connecting, and each answer, may take."""


class DatabaseSettings(Section):
    """Where PostgreSQL is and who we are there."""

    host: str
    """Host name or address."""
    port: int = Field(default=5432, ge=1, le=65535)
    """TCP port."""
    name: str = "argus"
    """Database."""
    user: str
    """Role to log in as."""
    password: SecretStr
    """Its password."""
    tls: DatabaseTls = DatabaseTls.DISABLE
    """Transport security."""
    ca_file: Path | None = None
    """PEM bundle for `verify-full`; the system's if absent."""
    connect_timeout: float = Field(default=5.0, gt=0)
    """Seconds that connecting may take."""
    command_timeout: float = Field(default=30.0, gt=0)
    """Seconds that one statement may take."""


class LogFormat(StrEnum):
    """How a log line looks."""

    JSON = "json"
    TEXT = "text"


class LogSettings(Section):
    """What is logged, and how."""

    level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    """Least severity that is written."""
    format: LogFormat = LogFormat.JSON
    """`json` for machines, `text` for a terminal."""


class OpsSettings(Section):
    """The port for probes and metrics, apart from the product's own traffic."""

    host: str = "0.0.0.0"  # noqa: S104  # probes come from the node, not from this pod
    """Address to listen on."""
    port: int = Field(default=9090, ge=0, le=65535)
    """TCP port; 0 takes a free one."""


class ProcessSettings(BaseSettings):
    """What every process has; components subclass it."""

    model_config = SettingsConfigDict(
        env_prefix="ARGUS_",
        env_nested_delimiter="__",
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # it holds passwords, and the errors go to the log
    )

    log: LogSettings = LogSettings()
    """Logging."""
    ops: OpsSettings = OpsSettings()
    """Probes and metrics."""
    registry_topic: str = REGISTRY_TOPIC
    """Compacted topic that carries the registry."""


S = TypeVar("S", bound=ProcessSettings)


def load(kind: type[S], program: str) -> S:
    """The settings of this process, from its environment.

    Where they make no sense, says so on standard error and raises SystemExit with code 2.
    """
    try:
        return kind()
    except (ValidationError, SettingsError) as error:
        sys.stderr.write(f"{program} cannot start, its settings are wrong: {error}\n")
        raise SystemExit(2) from error
