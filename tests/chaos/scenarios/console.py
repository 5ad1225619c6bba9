"""The console `argus` as a person runs it."""

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Final, NamedTuple

from tests.e2e.kubectl import ROOT

_ARGUS: Final = shutil.which("argus", path=str(Path(sys.executable).parent)) or "argus"


class Done(NamedTuple):
    """Exit code, and both outputs in one."""

    code: int
    output: str


async def argus(*words: str, within: float) -> Done:
    """Runs it to its end, in the environment of the installation under test."""
    process = await asyncio.create_subprocess_exec(
        *(_ARGUS, *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env=dict(os.environ),
    )
    try:
        async with asyncio.timeout(within):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Done(process.returncode or 0, output.decode())
