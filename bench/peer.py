"""A peer under the same load, on the same broker: an OpenTelemetry Collector, HTTP in, Kafka out.

It has no key to check, no limits, no validation and no ledger behind it, and makes one Kafka record
of a request. Its producer waits for all replicas and has no queue before it, so that its 200 means
what our 202 means.
"""

import json
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import urlopen

from argus_contract.names import TopicName
from argus_operator.adapters.kafka import KafkaAdmin
from argus_operator.topics import Create, TopicSpec
from argus_runtime import kafka as runtime_kafka

from bench.connections import Connections
from bench.driving import cost
from bench.engines import HOST
from bench.load import Offer
from bench.otlp import JSON, PROTOBUF

_PORT: Final = 28318
_TOPIC: Final = TopicName("argus.bench.peer")
_START_S: Final = 30.0
_TIMEOUT: Final = 60.0

DIALECTS: Final = (JSON, PROTOBUF)


@asynccontextmanager
async def standing(
    program: Path, where: Connections, scratch: Path, partitions: int
) -> AsyncIterator[int]:
    """A collector on a topic of its own until the block ends; gives its process."""
    admin = KafkaAdmin(runtime_kafka.options(where.kafka, "argus-bench"), 1, _TIMEOUT)
    try:
        await admin.apply([Create(TopicSpec(_TOPIC, partitions, {}))])
        with _running(program, where, scratch) as pid:
            yield pid
        await admin.delete([_TOPIC])
    finally:
        await admin.close()


async def measure(pid: int, batch: int, connections: int, seconds: float) -> dict[str, float]:
    """CPU in µs of the collector for each record, by the encoding of requests."""
    costs = {}
    for dialect in DIALECTS:
        offer = Offer(dialect=dialect, ports=(_PORT,), batch=batch, connections=connections)
        spent = await cost({"peer": (pid,)}, offer, seconds)
        costs[dialect] = spent.each("peer", batch)
    return costs


def configuration(where: Connections) -> dict[str, Any]:
    """The collector's configuration; JSON is YAML."""
    kafka = where.kafka
    password = "" if kafka.password is None else kafka.password.get_secret_value()
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"{HOST}:{_PORT}"}}}},
        "exporters": {
            "kafka": {
                "brokers": [kafka.bootstrap],
                "logs": {"topic": _TOPIC, "encoding": "otlp_proto"},
                "sending_queue": {"enabled": False},
                "producer": {"required_acks": -1, "compression": "snappy"},
                "auth": {
                    "sasl": {
                        "username": kafka.username,
                        "password": password,
                        "mechanism": kafka.mechanism,
                    }
                },
            }
        },
        "service": {
            "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
            "pipelines": {"logs": {"receivers": ["otlp"], "exporters": ["kafka"]}},
        },
    }


@contextmanager
def _running(program: Path, where: Connections, scratch: Path) -> Iterator[int]:
    told, log = scratch / "peer.yaml", scratch / "peer.log"
    told.write_text(json.dumps(configuration(where)))
    with log.open("wb") as output:
        words = [str(program), "--config", str(told)]
        process = subprocess.Popen(words, stdout=output, stderr=output)  # noqa: S603
    try:
        _await(process, log)
        yield process.pid
    finally:
        process.terminate()
        process.wait(_START_S)


def _await(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urlopen(f"http://{HOST}:{_PORT}/", timeout=2).close()
        except HTTPError:
            return  # it serves, but not this path
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the collector does not answer: {log.read_text()[-1500:]}")
