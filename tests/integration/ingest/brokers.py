"""A Kafka broker of a test's own, to be frozen and killed: the image that the other tests use.

Or one that lets a client do only what it was granted.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import IntEnum

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import CreateAclsRequest

from tests.integration.ingest.conftest import HOST, free_port

MODEL = "argus-test-kafka"
"""The container whose image it is."""
START_TIMEOUT = 90.0
USER, PASSWORD = "argus", "argus-test"
"""Whom a broker that authorizes knows, besides whoever needs no grant."""


class Resource(IntEnum):
    """What a grant is about, as Kafka's protocol numbers it."""

    TOPIC = 2
    GROUP = 3


class Operation(IntEnum):
    """What a grant allows, as Kafka's protocol numbers it."""

    READ = 3
    WRITE = 4
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


_LITERAL, _ALLOW = 3, 3


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

    def ports(self) -> list[int]:
        """Those that are published."""
        return [self._port]

    def environment(self) -> dict[str, str]:
        """Its settings."""
        listeners = f"PLAINTEXT://0.0.0.0:{self._port},CONTROLLER://127.0.0.1:9093"
        return {
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

    async def run(self) -> None:
        """Makes and starts it."""
        image = await docker("inspect", "-f", "{{.Config.Image}}", MODEL)
        variables = self.environment().items()
        settings = [part for named in variables for part in ("-e", "=".join(named))]
        published = [part for port in self.ports() for part in ("-p", f"{HOST}:{port}:{port}")]
        await docker(
            *("run", "-d", "--name", self._name, "--memory", "800m", *published),
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


class GuardedBroker(Broker):
    """One that lets `USER`, who comes by `guarded`, do only what was granted.

    Whoever comes by `bootstrap` may do everything, as the tests do.
    """

    def __init__(self, port: int, guarded: int) -> None:
        super().__init__(port)
        self.guarded = f"{HOST}:{guarded}"
        self._guarded = guarded

    def ports(self) -> list[int]:
        """Those that are published."""
        return [*super().ports(), self._guarded]

    def environment(self) -> dict[str, str]:
        """Its settings."""
        usual = super().environment()
        protocols = usual["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"]
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        return {
            **usual,
            "KAFKA_LISTENERS": f"{usual['KAFKA_LISTENERS']},CLIENTS://0.0.0.0:{self._guarded}",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": f"{protocols},CLIENTS:SASL_PLAINTEXT",
            "KAFKA_ADVERTISED_LISTENERS": (
                f"{usual['KAFKA_ADVERTISED_LISTENERS']},CLIENTS://{self.guarded}"
            ),
            "KAFKA_LISTENER_NAME_CLIENTS_SASL_ENABLED_MECHANISMS": "PLAIN",
            "KAFKA_LISTENER_NAME_CLIENTS_PLAIN_SASL_JAAS_CONFIG": (
                f'{login} user_{USER}="{PASSWORD}";'
            ),
            "KAFKA_AUTHORIZER_CLASS_NAME": (
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
            ),
            "KAFKA_SUPER_USERS": "User:ANONYMOUS",
        }

    @property
    def credentials(self) -> Mapping[str, str]:
        """`USER`'s, as aiokafka takes them."""
        return {
            "bootstrap_servers": self.guarded,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": USER,
            "sasl_plain_password": PASSWORD,
        }

    async def grant(self, resource: Resource, name: str, *operations: Operation) -> None:
        """Lets `USER` do this with one topic or group."""
        client = AIOKafkaClient(bootstrap_servers=self.bootstrap)
        await client.bootstrap()
        try:
            for operation in operations:
                request = CreateAclsRequest(
                    resource, name, _LITERAL, f"User:{USER}", "*", operation, _ALLOW
                )
                answer = await client.send(client.get_random_node(), request)
                assert [code for code, _ in answer.creation_responses] == [0]
        finally:
            await client.close()


@asynccontextmanager
async def guarded_broker() -> AsyncIterator[GuardedBroker]:
    """A broker that authorizes, while the block runs."""
    broker = GuardedBroker(free_port(), free_port())
    try:
        await broker.run()
        yield broker
    finally:
        await broker.remove()


@asynccontextmanager
async def own_broker() -> AsyncIterator[Broker]:
    """A broker while the block runs."""
    broker = Broker(free_port())
    try:
        await broker.run()
        yield broker
    finally:
        await broker.remove()
