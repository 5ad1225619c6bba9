"""What chaos reads of an installation, held against real engines."""

from tests.integration.stream.conftest import migrated, world

__all__ = ["migrated", "world"]
