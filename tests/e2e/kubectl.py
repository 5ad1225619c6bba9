"""kubectl and helm as a person uses them: what the tests see is what a user sees."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[2]
NAMESPACE = "argus"

Found = TypeVar("Found")


class CommandError(AssertionError):
    """A command failed; says which, and what it printed."""


def run(*words: str, stdin: str | None = None, timeout: float = 60, check: bool = True) -> str:
    """Standard output of a command, with standard error appended where `check` is off."""
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT
    )
    if not check:
        return done.stdout + done.stderr
    if done.returncode:
        raise CommandError(f"{' '.join(words)}: {done.stderr or done.stdout}")
    return done.stdout


def kubectl(*words: str, stdin: str | None = None, timeout: float = 60, check: bool = True) -> str:
    """Output of `kubectl …`."""
    return run("kubectl", *words, stdin=stdin, timeout=timeout, check=check)


def helm(*words: str, timeout: float = 180) -> str:
    """Output of `helm …`."""
    return run("helm", *words, timeout=timeout)


def get(*words: str) -> Any:
    """A resource, or a list of them, as JSON."""
    return json.loads(kubectl("get", *words, "-o", "json"))


def pods(component: str) -> list[dict[str, Any]]:
    """The living pods of one component of ARGUS."""
    selector = f"app.kubernetes.io/component={component}"
    found = get("pods", "-n", NAMESPACE, "-l", selector)["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def eventually(look: Callable[[], Found | None], within: float, what: str) -> Found:
    """What `look` gives as soon as that is not None or False; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what}")
        time.sleep(0.2)
