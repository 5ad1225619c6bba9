"""What any asyncpg connection of ARGUS is given."""

import ssl
from typing import Any

from argus_runtime import tls
from argus_runtime.settings import DatabaseSettings, DatabaseTls


def connect_options(settings: DatabaseSettings, application: str) -> dict[str, Any]:
    """Keyword arguments for asyncpg.connect and asyncpg.create_pool."""
    return {
        "host": settings.host,
        "port": settings.port,
        "database": settings.name,
        "user": settings.user,
        "password": settings.password.get_secret_value(),
        "ssl": _ssl(settings),
        "timeout": settings.connect_timeout,
        "command_timeout": settings.command_timeout,
        "server_settings": {"application_name": application},
    }


def _ssl(settings: DatabaseSettings) -> ssl.SSLContext | bool:
    match settings.tls:
        case DatabaseTls.DISABLE:
            return False
        case DatabaseTls.REQUIRE:
            return tls.context(None, verify=False)
        case DatabaseTls.VERIFY_FULL:
            return tls.context(settings.ca_file)
