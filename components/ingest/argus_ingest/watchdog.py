"""The loop's watchdog: measures how late it runs, and says what it was doing when it hangs.

A blocked loop answers no probe, so the kubelet restarts the process; the thread here leaves the
stack that blocked it in the log first, which nothing on the loop could.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from typing import Final

from argus_ingest import metrics

logger = logging.getLogger(__name__)

INTERVAL: Final = 0.1
"""Seconds between two measurements."""


class Watchdog:
    """Watches the loop that `run` runs on."""

    def __init__(self, stuck_after: float = 1.0) -> None:
        """`stuck_after` seconds without a turn, the stack is logged, once a hang."""
        self._stuck_after = stuck_after
        self._turn = time.monotonic()
        self._ended = threading.Event()
        self.hangs = 0

    async def run(self) -> None:
        """Measures for ever; a supervised task."""
        thread = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="watchdog", daemon=True
        )
        thread.start()
        try:
            while True:
                before = time.monotonic()
                await asyncio.sleep(INTERVAL)
                self._turn = time.monotonic()
                metrics.LOOP_LAG.observe(max(0.0, self._turn - before - INTERVAL))
        finally:
            self._ended.set()

    def _watch(self, loop_thread: int) -> None:
        reported = 0.0
        while not self._ended.wait(INTERVAL):
            turn = self._turn
            if turn == reported or time.monotonic() - turn < self._stuck_after:
                continue
            reported = turn
            self.hangs += 1
            frame = sys._current_frames().get(loop_thread)
            stack = "".join(traceback.format_stack(frame)) if frame else "(no frame)"
            logger.error("the event loop is stuck", extra={"stack": stack})
