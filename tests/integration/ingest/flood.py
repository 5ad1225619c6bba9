"""A tenant over its limit, as a process of its own, so that its work is not measured as ours.

    python flood.py PORT KEY EVENTS RATE SECONDS

Says "begun" and offers RATE requests a second of EVENTS events each, then prints how often each
status was answered, in JSON. What is late is sent at once, so the rate is offered whatever is
answered.
"""

import asyncio
import json
import sys
import time
from collections import Counter

from tests.integration.ingest.wire import Connection, request

EVENT = {"event": "flood", "properties": {f"property_{n}": f"value {n}" for n in range(12)}}
CONNECTIONS = 32


async def offer(port: int, raw: bytes, rate: float, seconds: float) -> Counter[int]:
    """The statuses of all answers."""
    statuses: Counter[int] = Counter()
    began = time.monotonic()
    turns = iter(range(round(rate * seconds)))

    async def client() -> None:
        connection = Connection(port)
        for turn in turns:
            await asyncio.sleep(began + turn / rate - time.monotonic())
            statuses[(await connection.send(raw)).status] += 1
        connection.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return statuses


def main() -> None:
    port, key, events, rate, seconds = sys.argv[1:]
    body = json.dumps([EVENT] * int(events) if int(events) > 1 else EVENT).encode()
    print("begun", flush=True)
    statuses = asyncio.run(offer(int(port), request(key, body), float(rate), float(seconds)))
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
