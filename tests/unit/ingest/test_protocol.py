"""Head and body of an answer in one write."""

import asyncio

from argus_ingest.protocol import PairingTransport


class Below(asyncio.Transport):
    """Remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.told.append(bytes(data))

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")


def pair() -> tuple[PairingTransport, Below]:
    below = Below()
    return PairingTransport(below, asyncio.get_running_loop()), below


async def test_two_writes_of_one_turn_are_one() -> None:
    transport, below = pair()
    transport.write(b"head")
    transport.write(b"body")
    assert below.told == [b"headbody"]
    await asyncio.sleep(0)
    assert below.told == [b"headbody"]


async def test_a_single_write_leaves_with_the_turn() -> None:
    transport, below = pair()
    transport.write(b"head")
    assert below.told == []
    await asyncio.sleep(0)
    assert below.told == [b"head"]


async def test_order_is_kept_over_any_number_of_writes() -> None:
    transport, below = pair()
    for n in range(7):
        transport.write(b"%d" % n)
        if n % 3 == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert b"".join(part for part in below.told if isinstance(part, bytes)) == b"0123456"


async def test_closing_loses_nothing_and_aborting_everything() -> None:
    transport, below = pair()
    transport.write(b"head")
    transport.close()
    assert below.told == [b"head", "close"]
    transport, below = pair()
    transport.write(b"head")
    transport.abort()
    await asyncio.sleep(0)
    assert below.told == ["abort"]
