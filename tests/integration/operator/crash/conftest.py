"""The engines that these tests run on."""

from tests.integration.operator.real_world import ground

__all__ = ["ground"]
