"""What any aiokafka client of ARGUS is given."""

from typing import Any

from argus_runtime import tls
from argus_runtime.settings import KafkaSecurity, KafkaSettings


def options(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Keyword arguments common to aiokafka's producer, consumer and admin client."""
    common: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "client_id": client_id,
        "request_timeout_ms": round(settings.request_timeout * 1000),
        "metadata_max_age_ms": round(settings.metadata_max_age * 1000),
        "connections_max_idle_ms": round(settings.connections_max_idle * 1000),
        "security_protocol": settings.security.upper(),
    }
    if settings.security in (KafkaSecurity.SSL, KafkaSecurity.SASL_SSL):
        common["ssl_context"] = tls.context(settings.ca_file)
    if settings.security in (KafkaSecurity.SASL_PLAINTEXT, KafkaSecurity.SASL_SSL):
        password = settings.password
        common["sasl_mechanism"] = settings.mechanism.value
        common["sasl_plain_username"] = settings.username
        common["sasl_plain_password"] = None if password is None else password.get_secret_value()
    return common
