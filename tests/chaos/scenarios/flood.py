"""One tenant's load, from a process of its own: it takes no time of who measures the others.

`python -m tests.chaos.scenarios.flood` reads the fields of `Flood` as JSON from standard input, and
prints how many events were answered with which status. What is refused is not sent again.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp

from tests.chaos.tenants import new_address
from tests.chaos.traffic import Request, Shape, Traffic

_TICK_S = 0.02
_IN_FLIGHT = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """What is offered; `rate` in events/s."""

    url: str
    key: str = field(repr=False)
    rate: float
    seconds: float
    shape: dict[str, Any]

    async def run(self) -> dict[str, int]:
        """Floods from another process; events by the status of their answer, 0 for none."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.scenarios.flood"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self.seconds + 60):
                output, _ = await process.communicate(json.dumps(asdict(self)).encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, f"the flood ended with {process.returncode}"
        found: dict[str, int] = json.loads(output)
        return found


async def _offer(flood: Flood) -> Counter[str]:
    answers: Counter[str] = Counter()
    free = asyncio.Semaphore(_IN_FLIGHT)
    traffic = Traffic(Shape(**flood.shape), random.SystemRandom().getrandbits(64))
    loop = asyncio.get_running_loop()
    due, then = 0.0, loop.time()
    end = then + flood.seconds
    async with _session() as session, asyncio.TaskGroup() as group:
        while then < end:
            await asyncio.sleep(_TICK_S)
            due += flood.rate * (loop.time() - then)
            then = loop.time()
            while due >= 1 and not free.locked():
                request = traffic.next()
                due -= len(request.items)
                await free.acquire()
                group.create_task(_post(session, flood, request, answers, free))
    return answers


def _session() -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=15))


async def _post(
    session: aiohttp.ClientSession,
    flood: Flood,
    request: Request,
    answers: Counter[str],
    free: asyncio.Semaphore,
) -> None:
    headers = {
        "authorization": f"Bearer {flood.key}",
        "content-type": request.content_type,
        "x-forwarded-for": new_address(),
    }
    if request.encoding is not None:
        headers["content-encoding"] = request.encoding
    try:
        url = f"{flood.url}/v1/events"
        async with session.post(url, data=request.body, headers=headers) as response:
            await response.read()
            status = response.status
    except (aiohttp.ClientError, TimeoutError):
        status = 0
    free.release()
    answers[str(status)] += len(request.items)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_offer(Flood(**json.load(sys.stdin))))))
