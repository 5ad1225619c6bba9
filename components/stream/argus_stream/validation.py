"""The compiled JSON Schemas of the pipelines that are read here."""

import logging
from collections.abc import Container

from argus_contract.event_schemas import Validators
from argus_contract.registry import Pipeline

logger = logging.getLogger(__name__)


class Validations:
    """Validators by topic, compiled again only where the registry says something else."""

    def __init__(self) -> None:
        self._validators: dict[str, Validators] = {}

    def of(self, pipeline: Pipeline) -> Validators | None:
        """A pipeline's validators; None where no event has a schema."""
        validation = pipeline.validation
        if validation is None:
            return None
        known = self._validators.get(pipeline.topic)
        if known is not None and known.validation is validation:
            return known
        if known is not None and known.validation == validation:
            known.validation = validation
            return known
        made = self._validators[pipeline.topic] = Validators(validation)
        for event, reason in made.broken.items():
            extra = {"topic": pipeline.topic, "event": event, "reason": reason}
            logger.error("a JSON Schema cannot be applied: its events are not judged", extra=extra)
        return made

    def keep(self, topics: Container[str]) -> None:
        """Forgets those of all other topics."""
        self._validators = {
            topic: found for topic, found in self._validators.items() if topic in topics
        }
