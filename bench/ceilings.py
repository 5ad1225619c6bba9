"""What each engine, and HTTP itself, can do at best: same machine, same settings, nothing else.

HTTP        a bare asyncio and httptools server, under the bench's own load generator
Kafka       its own producer-perf-test, acks=all, records of 400 bytes
PostgreSQL  plain binary COPY into a table of the same columns without any index
Valkey      its own benchmark: HSET, one at a time and 64 in a pipeline
"""

import asyncio
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
from argus_contract.names import TopicName
from argus_operator.adapters.kafka import KafkaAdmin
from argus_operator.topics import Create, TopicSpec
from argus_runtime import database as runtime_database
from argus_runtime import kafka as runtime_kafka

from bench import accounting
from bench.connections import Connections
from bench.driving import cost
from bench.engines import CONFIGURATION, HOST, VALKEY_PORT, Engine, docker, listens
from bench.load import Offer

_TIMEOUT: Final = 60.0
BARE_PORT: Final = 28090
_RECORDS: Final = 1_000_000
_RECORD_BYTES: Final = 400
_TOPIC: Final = TopicName("argus.bench.ceiling")
_PARTITIONS: Final = 4
_PERFORMANCE: Final = re.compile(r"(\d+) records sent, ([0-9.]+) records/sec")
_CHUNK: Final = 5_000
_CHUNKS: Final = 60
_TABLE: Final = """
CREATE TABLE bench_ceiling (id uuid, time timestamptz, received_at timestamptz, event text,
  distinct_id text, session_id text, value float8, source_partition int, source_offset bigint,
  properties jsonb)
"""
_FILL: Final = """
INSERT INTO bench_ceiling
SELECT gen_random_uuid(), now(), now(), 'page_view', 'visitor-' || n % 400, 'session-' || n, n, 0,
  n,
  jsonb_build_object('url', 'https://shop.example/products/' || n, 'title', 'Lamps and desks',
    'browser', 'Firefox', 'os', 'Linux', 'width', 1920, 'locale', 'en-GB', 'plan', 'team',
    'version', '3.1.' || n % 10, 'loaded_ms', n % 2000,
    'referrer', 'https://search.example/q' || n % 1000)
FROM generate_series(1, $1::int) n
"""
_SETS: Final = {"hset": (150_000, 1), "hset_pipelined": (1_500_000, 64)}
"""Commands, and how many in a pipeline."""

Figures = dict[str, float]


async def http(seconds: float, connections: int) -> Figures:
    """Requests of one event against the bare server."""
    with bare() as pid:
        offer = Offer(ports=(BARE_PORT,), keys=("argus_public_none",), connections=connections)
        measured = await cost({"bare": (pid,)}, offer, seconds)
    return {
        "ceiling.http": measured.each("bare"),
        "ceiling.http_rate": measured.rate,
    }


@contextmanager
def bare() -> Iterator[int]:
    """The bare server as a process; its pid."""
    words = [sys.executable, "-m", "bench.bare", str(BARE_PORT)]
    process = subprocess.Popen(words)  # noqa: S603
    try:
        _await(process)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _await(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        if listens(BARE_PORT):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the bare server does not listen on port {BARE_PORT}")


async def kafka(engine: Engine, where: Connections, scratch: Path) -> Figures:
    """Records produced by Kafka's own tool; `scratch` is where the engines' files are."""
    settings = where.kafka
    admin = KafkaAdmin(runtime_kafka.options(settings, "argus-bench"), 1, _TIMEOUT)
    try:
        await admin.apply([Create(TopicSpec(_TOPIC, _PARTITIONS, {}))])
        before = accounting.cpu(accounting.table(), [engine.pid])
        printed = await asyncio.to_thread(_produce, engine, where, scratch / engine.name)
        after = accounting.cpu(accounting.table(), [engine.pid])
        await admin.delete([_TOPIC])
    finally:
        await admin.close()
    found = _PERFORMANCE.findall(printed)
    if not found or int(found[-1][0]) != _RECORDS:
        raise RuntimeError(f"producer-perf-test: {printed[-500:]}")
    return {
        "ceiling.kafka": accounting.MICROS * (after - before) / _RECORDS,
        "ceiling.kafka_rate": float(found[-1][1]),
    }


def _produce(engine: Engine, where: Connections, directory: Path) -> str:
    settings = where.kafka
    password = "" if settings.password is None else settings.password.get_secret_value()
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    login = f'{module} required username="{settings.username}" password="{password}";'
    file = directory / "producer.properties"  # the tool splits what it is told at each "="
    file.write_text(
        f"acks=all\nsecurity.protocol={settings.security.upper()}\n"
        f"sasl.mechanism={settings.mechanism}\nsasl.jaas.config={login}\n"
    )
    return docker(
        *("exec", engine.container, "java", "-Xmx256m", "-cp", "/opt/kafka/libs/*"),
        "org.apache.kafka.tools.ProducerPerformance",
        *("--topic", _TOPIC, "--num-records", str(_RECORDS), "--record-size", str(_RECORD_BYTES)),
        *("--throughput", "-1", "--bootstrap-server", settings.bootstrap),
        *("--command-config", f"{CONFIGURATION}/{file.name}"),
    )


async def postgres(engine: Engine, where: Connections) -> Figures:
    """Rows copied, synchronous_commit on, a transaction every 5,000."""
    options = runtime_database.connect_options(where.database, "argus-bench")
    connection = await asyncpg.connect(**options)
    try:
        await connection.execute(_TABLE)
        await connection.execute(_FILL, _CHUNK)
        rows = io.BytesIO()
        await connection.copy_from_table("bench_ceiling", output=rows, format="binary")
        before, began = accounting.cpu(accounting.table(), [engine.pid]), time.monotonic()
        for _ in range(_CHUNKS):
            rows.seek(0)
            await connection.copy_to_table("bench_ceiling", source=rows, format="binary")
        took = time.monotonic() - began
        after = accounting.cpu(accounting.table(), [engine.pid])
        await connection.execute("DROP TABLE bench_ceiling")
    finally:
        await connection.close()
    copied = _CHUNK * _CHUNKS
    return {
        "ceiling.copy": accounting.MICROS * (after - before) / copied,
        "ceiling.copy_rate": copied / took,
    }


def valkey(engine: Engine, where: Connections) -> Figures:
    """HSET by Valkey's own benchmark, without and with a pipeline."""
    password = "" if where.redis.password is None else where.redis.password.get_secret_value()
    figures: Figures = {}
    for name, (commands, pipeline) in _SETS.items():
        before = accounting.cpu(accounting.table(), [engine.pid])
        printed = docker(
            *("exec", "-e", f"REDISCLI_AUTH={password}", engine.container, "valkey-benchmark"),
            *("-h", HOST, "-p", str(VALKEY_PORT), "-a", password, "--csv", "-t", "hset"),
            *("-n", str(commands), "-P", str(pipeline), "-r", "100000"),
        )
        after = accounting.cpu(accounting.table(), [engine.pid])
        figures[f"ceiling.{name}"] = accounting.MICROS * (after - before) / commands
        figures[f"ceiling.{name}_rate"] = _rate(printed)
    return figures


def _rate(csv: str) -> float:
    """Commands a second out of valkey-benchmark's CSV: "HSET","76000.12",…"""
    for line in csv.splitlines():
        name, _, rest = line.partition(",")
        if name.strip('"') == "HSET":
            return float(rest.split(",")[0].strip('"'))
    raise RuntimeError(f"valkey-benchmark: {csv[-500:]}")
