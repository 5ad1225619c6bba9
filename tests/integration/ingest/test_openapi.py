"""The OpenAPI description, exercised: what it allows is accepted, what it does not is refused, and
every answer is one that it describes.

schemathesis makes the requests from the description that the running process gives out. Any 5xx,
any status, header or body that is not described, any valid event that is refused fails.
"""

import asyncio
import re
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.integration.ingest.conftest import Kafka, Run, pipeline, tenant

CONFIG: Final = Path(__file__).with_name("schemathesis.toml")
FEWEST: Final = 500
"""Requests that must have been made, lest a description that says nothing passes."""


@pytest.mark.timeout(300)
async def test_the_server_does_what_its_description_says(
    broker: Kafka, run_edge: Run, tmp_path: Path
) -> None:
    acme = tenant(pipeline("main", await broker.create()))
    await broker.publish(acme)
    async with run_edge() as edge:
        await edge.until_ready()
        arguments = (
            *("--config-file", str(CONFIG), "run", f"{edge.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {acme.public_key}"),
            *("--checks", "all", "--no-color", "--continue-on-failure"),
        )
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            *arguments,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        metrics = await edge.metrics()
    said = "\n".join(line[:400] for line in printed.decode().splitlines())
    assert process.returncode == 0, said
    generated = re.search(r"(\d+) generated", said)
    assert generated is not None, said
    assert int(generated[1]) >= FEWEST, said
    assert not [name for name in metrics if re.search(r'requests_total.*status="5', name)]
