"""The ops port tells probes the truth and gives reasons in words."""

import asyncio

import httpx
import pytest
from argus_runtime import ops
from argus_runtime.settings import OpsSettings

SETTINGS = OpsSettings(host="127.0.0.1", port=0)


async def get(path: str, ready: str | None = None) -> httpx.Response:
    async with (
        ops.serve(SETTINGS, lambda: None, lambda: ready) as server,
        httpx.AsyncClient() as client,
    ):
        return await client.get(f"http://127.0.0.1:{server.bound_port}{path}")


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [("/healthz", 200, "ok"), ("/readyz", 503, "no registry yet"), ("/other", 404, "try")],
)
async def test_probes_answer_with_the_reason(path: str, status: int, body: str) -> None:
    answer = await get(path, ready="no registry yet")
    assert answer.status_code == status
    assert body in answer.text


async def test_metrics_are_in_prometheus_text() -> None:
    answer = await get("/metrics")
    assert "process_cpu_seconds_total" in answer.text


async def test_leaving_the_block_frees_the_port() -> None:
    async with ops.serve(SETTINGS, lambda: None, lambda: None) as server:
        port = server.bound_port
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)
