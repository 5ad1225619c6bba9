"""Client options follow the settings, and secrets go nowhere without SASL."""

from argus_runtime import kafka
from argus_runtime.settings import KafkaSecurity, KafkaSettings
from pydantic import SecretStr


def test_plaintext_sends_no_credentials() -> None:
    options = kafka.options(KafkaSettings(bootstrap="b:1", password=SecretStr("x")), "me")
    assert options["security_protocol"] == "PLAINTEXT"
    assert not [name for name in options if name.startswith(("sasl", "ssl"))]


def test_sasl_over_tls_has_both() -> None:
    settings = KafkaSettings(
        bootstrap="b:1",
        security=KafkaSecurity.SASL_SSL,
        username="u",
        password=SecretStr("p"),
        request_timeout=60,
    )
    options = kafka.options(settings, "me")
    assert options["request_timeout_ms"] == 60_000
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("u", "p")
    assert options["ssl_context"].check_hostname
