"""A Kafka broker of a test's own, to be frozen and killed: the image that the other tests use."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.integration.ingest.conftest import HOST, free_port

MODEL = "argus-test-kafka"
"""The container whose image it is."""
START_TIMEOUT = 90.0


async def docker(*arguments: str) -> str:
    """What the command prints; raises RuntimeError where it fails."""
    process = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {err.decode().strip()}")
    return out.decode().strip()


class Broker:
    """One container with one broker."""

    def __init__(self, port: int) -> None:
        self.bootstrap = f"{HOST}:{port}"
        self._name = f"argus-test-broker-{secrets.token_hex(4)}"
        self._port = port

    async def run(self) -> None:
        """Makes and starts it."""
        image = await docker("inspect", "-f", "{{.Config.Image}}", MODEL)
        listeners = f"PLAINTEXT://0.0.0.0:{self._port},CONTROLLER://127.0.0.1:9093"
        environment = {
            "KAFKA_HEAP_OPTS": "-Xms256m -Xmx256m",
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@127.0.0.1:9093",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENERS": listeners,
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{self.bootstrap}",
            "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        }
        settings = [part for named in environment.items() for part in ("-e", "=".join(named))]
        published = f"{HOST}:{self._port}:{self._port}"
        await docker(
            *("run", "-d", "--name", self._name, "--memory", "800m", "-p", published),
            *settings,
            image,
        )
        await self.answers()

    async def answers(self) -> None:
        """Returns when a client can connect."""
        async with asyncio.timeout(START_TIMEOUT):
            while True:
                producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
                try:
                    await producer.start()
                    return
                except KafkaError:
                    await asyncio.sleep(0.2)
                finally:
                    await producer.stop()

    async def freeze(self) -> None:
        """It stands still; its connections stay."""
        await docker("pause", self._name)

    async def thaw(self) -> None:
        """It goes on."""
        await docker("unpause", self._name)

    async def kill(self) -> None:
        """kill -9."""
        await docker("kill", self._name)

    async def start(self) -> None:
        """It comes back with its logs."""
        await docker("start", self._name)

    async def remove(self) -> None:
        """It and its logs are gone."""
        await docker("rm", "-fv", self._name)


@asynccontextmanager
async def own_broker() -> AsyncIterator[Broker]:
    """A broker while the block runs."""
    broker = Broker(free_port())
    try:
        await broker.run()
        yield broker
    finally:
        await broker.remove()
