"""Hypothesis without deadlines: how long an example takes is the machine's affair."""

from hypothesis import settings

settings.register_profile("ingest", deadline=None)
settings.load_profile("ingest")
