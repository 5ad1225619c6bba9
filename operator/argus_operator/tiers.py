"""The tiers as they are now: the file that holds them may change under a running operator."""

import logging
from collections.abc import Callable
from pathlib import Path

from argus_operator import metrics
from argus_operator.settings import Tiers

logger = logging.getLogger(__name__)

_Stamp = tuple[int, int, int] | None


class TierBook:
    """Reads the tiers again where their file has changed; of two versions never a mixture."""

    def __init__(self, load: Callable[[], Tiers], file: Path | None = None) -> None:
        """`load` reads `file`, or settles by itself what the tiers are where there is none.

        Raises what `load` raises: OSError or ValueError where there are no tiers to begin with.
        """
        self._load = load
        self._file = file
        self._stamp = _stamp(file)
        self._tiers = load()
        self._told = ""
        metrics.TIERS_INVALID.set(0)

    def __call__(self) -> Tiers:
        """The tiers, as last found valid."""
        return self._tiers

    def refresh(self) -> None:
        """Reads a file that has changed; one that is of no use changes nothing and is told once."""
        try:
            stamp = _stamp(self._file)
            if stamp is not None and stamp == self._stamp:
                return
            self._tiers = self._load()
        except (OSError, ValueError) as error:
            self._refuse(str(error))
            return
        if self._stamp != stamp:
            logger.info("tiers", extra={"known": sorted(self._tiers)})
        self._stamp, self._told = stamp, ""
        metrics.TIERS_INVALID.set(0)

    def _refuse(self, problem: str) -> None:
        self._stamp = None
        metrics.TIERS_INVALID.set(1)
        if problem != self._told:
            logger.error("tiers: those of before stay in force", extra={"reason": problem})
            self._told = problem


def _stamp(file: Path | None) -> _Stamp:
    """Tells one version of the file from another; None without a file."""
    if file is None:
        return None
    found = file.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size
