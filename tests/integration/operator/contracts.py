"""What the tests of the ports' contracts share."""

import secrets

import pytest
from argus_contract import names
from argus_contract.names import TenantId, TopicName

BOTH = pytest.mark.parametrize("kind", ["fake", "real"])
"""Runs a test on the unit tests' fake and on the real adapter."""


def unused(prefix: str = "argus.") -> TopicName:
    """A topic that nobody has."""
    return TopicName(f"{prefix}contract.{secrets.token_hex(6)}")


def some_tenant() -> TenantId:
    return names.tenant_id("n", "t", secrets.token_hex(8))
