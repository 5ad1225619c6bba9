"""Of the letters of each event, which one is the latest: the others are history.

Pure. A dead-letter topic is read twice, once to learn which letters stand and once to show them, so
that no letter is kept: this is all that is, some 20 bytes an event.
"""

from array import array
from bisect import bisect_left

from argus_cli.letters import Key


class Latest:
    """Learns of letters in the order of the topic; copies of a letter change nothing."""

    def __init__(self) -> None:
        self._sources: dict[tuple[str, int], _Source] = {}

    def add(self, root: Key, attempt: int, place: int) -> None:
        """A letter at offset `place` of its topic; of an attempt the first stands."""
        where = root.topic, root.partition
        source = self._sources.get(where)
        if source is None:
            source = self._sources[where] = _Source()
        source.add(root.offset, attempt, place)

    def stands(self, root: Key, place: int) -> bool:
        """Whether the letter at `place` is the one that stands for its event."""
        source = self._sources.get((root.topic, root.partition))
        return source is not None and source.place(root.offset) == place

    def __len__(self) -> int:
        return sum(len(source) for source in self._sources.values())


class _Source:
    """The events of one source partition.

    Letters are written nearly in the order of their sources, so columns that only grow hold almost
    all of them; what comes out of order (a batch that was taken apart, the replay of an event whose
    first letter is not among those read) goes beside.
    """

    __slots__ = ("_attempts", "_beside", "_offsets", "_places")

    def __init__(self) -> None:
        self._offsets = array("q")
        self._attempts = array("i")
        self._places = array("q")
        self._beside: dict[int, tuple[int, int]] = {}

    def add(self, offset: int, attempt: int, place: int) -> None:
        if not self._offsets or offset > self._offsets[-1]:
            self._offsets.append(offset)
            self._attempts.append(attempt)
            self._places.append(place)
            return
        index = bisect_left(self._offsets, offset)
        if self._offsets[index] == offset:
            if attempt > self._attempts[index]:
                self._attempts[index], self._places[index] = attempt, place
        elif attempt > self._beside.get(offset, (0, 0))[0]:
            self._beside[offset] = attempt, place

    def place(self, offset: int) -> int | None:
        index = bisect_left(self._offsets, offset)
        if index < len(self._offsets) and self._offsets[index] == offset:
            return self._places[index]
        beside = self._beside.get(offset)
        return None if beside is None else beside[1]

    def __len__(self) -> int:
        return len(self._offsets) + len(self._beside)
