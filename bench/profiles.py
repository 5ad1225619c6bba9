"""Flame graphs of Python processes, by py-spy, which looks from outside: `--profile`."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

_RATE: Final = 200
_STOP_S: Final = 30.0


@contextmanager
def recording(pids: Mapping[str, int], directory: Path) -> Iterator[None]:
    """Samples these processes while the block runs; each leaves `<name>.svg` in the directory.

    Raises RuntimeError where py-spy may not look at them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name, pid in pids.items():
            stack.enter_context(_recording(pid, directory / f"{name}.svg"))
        yield


@contextmanager
def _recording(pid: int, output: Path) -> Iterator[None]:
    program = Path(sys.executable).with_name("py-spy")
    words = [str(program), "record", "--pid", str(pid), "--rate", str(_RATE)]
    process = subprocess.Popen(  # noqa: S603
        [*words, "--gil", "--output", str(output)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield
    finally:
        process.send_signal(2)
        _, complaint = process.communicate(timeout=_STOP_S)
    if not output.exists():
        raise RuntimeError(f"py-spy wrote no {output.name}: {complaint.decode()[-500:]}")
