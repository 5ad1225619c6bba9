"""The process's own word on whether it should get requests."""

from argus_ingest.main import Ingest
from argus_ingest.settings import Settings
from argus_runtime.settings import KafkaSettings

from tests.unit.ingest.helpers import document


async def test_readiness_names_what_is_missing_in_turn() -> None:
    ingest = Ingest(Settings(kafka=KafkaSettings(bootstrap="127.0.0.1:1")))
    assert ingest.ready() == "not listening yet"
    ingest.listening = True
    assert ingest.ready() == "the registry is not complete yet"
    ingest.directory.update({document().id: document()})
    assert ingest.ready() == "no broker has been reached yet"
    ingest.endpoint.draining = True
    assert ingest.ready() == "draining"
    assert ingest.live() is None
