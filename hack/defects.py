#!/usr/bin/env python3
"""Break ARGUS on purpose, one defect at a time, and see that the tests find each of them.

A test that passes whatever the code does proves nothing. So each defect here takes one promise back
by a small exact replacement in a copy of the tree, and the cheapest tests that ought to notice run
on the copy: at least one has to fail, by a failed test and not by code that no longer imports.
Before that the same tests have to pass on the copy as it is. The checkout itself is never changed.

Usage: hack/defects.py [NAME...]; without names, all of them. Needs `make engines`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

ROOT: Final = Path(__file__).resolve().parents[1]
SECONDS: Final = 240
"""How long the tests of one defect may take."""
PACKAGES: Final = ("contract", "runtime", "ingest", "stream", "cli")


@dataclass(frozen=True, slots=True)
class Edit:
    """Text that stands exactly once in a file, and what takes its place."""

    file: str
    old: str
    new: str

    def apply(self, tree: Path) -> None:
        """Replaces; raises ValueError where the text does not stand there exactly once."""
        path = tree / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            found = text.count(self.old)
            raise ValueError(f"{self.file} has {found} times, not once: {self.old.strip()!r}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Defect:
    """A promise taken back, and the tests of which one has to notice."""

    name: str
    means: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What tests came to: how many passed, which failed, and which could not even run."""

    passed: int
    failed: tuple[str, ...]
    broken: tuple[str, ...]
    output: str


STORE_SQL: Final = "db/routines/50_store.sql"
STREAM: Final = "components/stream/argus_stream"
INGEST: Final = "components/ingest/argus_ingest"
CONTRACT: Final = "components/contract/argus_contract"

DEFECTS: Final = (
    Defect(
        "fence-off",
        "the storing function takes a batch from any offset",
        (
            Edit(
                STORE_SQL,
                "    WHERE o.next_offset IS DISTINCT FROM s.from_offset\n",
                "    WHERE o.next_offset IS NULL\n",
            ),
            Edit(
                STORE_SQL,
                "o.partition = t.partition AND o.next_offset = t.from_offset;",
                "o.partition = t.partition;",
            ),
        ),
        (
            "tests/integration/stream/test_sharing.py::"
            "test_a_zombie_is_fenced_and_nothing_of_its_batch_is_stored",
            "tests/integration/db/test_concurrency.py::test_of_two_owners_of_a_partition_one_stores",
        ),
    ),
    Defect(
        "answer-before-the-ack",
        "ingest answers 202 before Kafka has the events",
        (
            Edit(
                f"{INGEST}/publish.py",
                "            self._queue(bundle, ticket)\n        return done\n",
                "            self._queue(bundle, ticket)\n"
                "        answered: asyncio.Future[None] = self._loop.create_future()\n"
                "        answered.set_result(None)\n"
                "        return answered\n",
            ),
        ),
        ("tests/unit/ingest/test_publish.py",),
    ),
    Defect(
        "outbox-skipped",
        "what was stored is not written down for the live counters",
        (
            Edit(
                STORE_SQL,
                "    SELECT topic, partition, from_offset, to_offset, deltas FROM unnest(terms)\n",
                "    SELECT topic, partition, from_offset, to_offset, deltas FROM unnest(terms)\n"
                "    WHERE false\n",
            ),
        ),
        ("tests/integration/db/test_live.py",),
    ),
    Defect(
        "bisection-off",
        "a refused batch is dead-lettered record by record until it passes, good records too",
        (Edit(f"{STREAM}/store.py", "halves = piece.split()", "halves = None"),),
        ("tests/unit/stream/test_store.py",),
    ),
    Defect(
        "refused-batch-dropped",
        "a refused batch is skipped as if nobody had written it",
        (
            Edit(
                f"{STREAM}/store.py",
                "            await self._bisect(group, error)\n            return\n",
                "            for piece in group:\n"
                "                piece.rows, piece.records, piece.letters = [], [], []\n"
                "                piece.end, end = piece.start, piece.end\n"
                "                piece.skip_to(end)\n"
                "            await self._attempt(group)\n            return\n",
            ),
        ),
        ("tests/unit/stream/test_store.py",),
    ),
    Defect(
        "duplicates-as-remainder",
        "what is in no other term is called a duplicate, so the ledger always adds up",
        (
            Edit(
                STORE_SQL,
                "coalesce(m.stored, 0), coalesce(m.duplicate, 0) + s.duplicate_letters,",
                "coalesce(m.stored, 0), s.to_offset - s.from_offset - coalesce(m.stored, 0) "
                "- coalesce(l.recorded, 0) - s.skipped - s.lost,",
            ),
        ),
        (
            "tests/integration/db/test_store.py::"
            "test_a_row_that_vanishes_on_its_way_is_not_called_a_duplicate",
        ),
    ),
    Defect(
        "commit-ahead-of-sql",
        "Kafka is told of offsets that are not stored, so ingest sees too little backlog",
        (
            Edit(
                f"{STREAM}/mirror.py",
                "shown = {source: self._stored[source] for source in self._dirty}",
                "shown = {source: self._stored[source] + 1 for source in self._dirty}",
            ),
        ),
        ("tests/unit/stream/test_mirror.py",),
    ),
    Defect(
        "letters-after-the-ledger",
        "a dead letter is counted before Kafka has it: a crash between the two loses it",
        (
            Edit(
                f"{STREAM}/store.py",
                "                if self._guarded(live) or await self._mail(live, patience):\n"
                "                    continue\n"
                "                self._watch.step(LOOP)\n"
                "                await self._store_once(live)\n",
                "                if self._guarded(live):\n"
                "                    continue\n"
                "                await self._store_once(live)\n"
                "                await self._mail(live, patience)\n",
            ),
        ),
        ("tests/unit/stream/test_store.py",),
    ),
    Defect(
        "redis-fence-off",
        "deltas are added to the live counters wherever their fence is",
        (
            Edit(
                "lua/live_counters.lua",
                "if fence ~= ARGV[1] then\n  return fence\nend\n",
                "",
            ),
        ),
        ("tests/integration/stream/test_contracts.py::TestRedisCounters",),
    ),
    Defect(
        "replay-not-settled",
        "a replayed dead letter leaves no trace, so the next replay sends it again",
        (
            Edit(
                STORE_SQL,
                "PERFORM argus.settle_replays(topics, partitions, letters, replays);",
                "NULL;",
            ),
        ),
        ("tests/integration/db/test_replays.py",),
    ),
    Defect(
        "outage-taken-for-poison",
        "a lost connection is taken for a record that the database refuses",
        (
            Edit(
                f"{STREAM}/adapters/timescale.py",
                '_DATA_CLASSES: Final = frozenset({"22", "23"})',
                '_DATA_CLASSES: Final = frozenset({"22", "23", "08", "40", "53", "57"})',
            ),
        ),
        ("tests/integration/stream/test_sqlstates.py",),
    ),
    Defect(
        "one-broken-table-pauses-all",
        "where a batch fails, every pipeline in it is paused",
        (
            Edit(
                f"{STREAM}/store.py",
                "        failing = [(group, failure) for group in groups "
                "if (failure := await self._attempt(group))]\n",
                "        failing = [(group, error) for group in groups]\n",
            ),
        ),
        ("tests/unit/stream/test_store.py",),
    ),
    Defect(
        "clients-trip-the-guard",
        "whatever is dead-lettered counts against the pipeline's table",
        (
            Edit(
                f"{STREAM}/guard.py",
                "return letter.code in _FAULTS and letter.step is not Step.INGEST and "
                "letter.replay is None",
                "return letter.replay is None",
            ),
        ),
        ("tests/unit/stream/test_guard.py",),
    ),
    Defect(
        "lost-called-skipped",
        "records that expired unread are counted as nobody's",
        (
            Edit(
                "db/routines/40_partitions.sql",
                "0, 0, 0, 0, log_start - standing, '{}')",
                "0, 0, 0, log_start - standing, 0, '{}')",
            ),
        ),
        ("tests/integration/db/test_partitions.py",),
    ),
    Defect(
        "shorter-log-read-on",
        "a log that ends before what was read of it is read as if it were the same",
        (
            Edit(
                f"{STREAM}/opening.py",
                "if offset > log.end and not await self._reaches(source, offset):",
                "if offset > log.end and await self._reaches(source, offset):",
            ),
        ),
        ("tests/unit/stream/test_opening.py",),
    ),
    Defect(
        "ids-without-a-time-stored-twice",
        "a resent event whose client gave an id and no time is stored again",
        (Edit(STORE_SQL, "        IF target.by_id THEN\n", "        IF false THEN\n"),),
        (
            "tests/integration/db/test_store.py::"
            "test_an_id_alone_decides_where_the_client_gave_no_time",
        ),
    ),
    Defect(
        "window-off",
        "an event of the year 9999 makes a chunk of its own",
        (
            Edit(
                f"{CONTRACT}/storable.py",
                "if not window.oldest < found.time < window.newest:",
                "if not window.oldest < found.time:",
            ),
        ),
        ("tests/unit/stream/test_decode.py",),
    ),
    Defect(
        "uncommitted-taken-for-read",
        "a pipeline of which the stream never committed anything counts as read to its end",
        (
            Edit(
                f"{INGEST}/backlog.py",
                "return self.start if self.committed is None else",
                "return self.end if self.committed is None else",
            ),
        ),
        ("tests/unit/ingest/test_backlog.py",),
    ),
    Defect(
        "expired-rows-uncounted",
        "what retention drops is in no term, so a row removed by hand looks the same",
        (
            Edit(
                "db/routines/70_expire.sql",
                "            expired = o.expired + "
                "coalesce((rows_gone ->> o.partition::text)::bigint, 0),\n",
                "            expired = o.expired,\n",
            ),
        ),
        (
            "tests/integration/db/test_retention.py::test_what_retention_drops_is_counted_per_partition",
        ),
    ),
    Defect(
        "copies-of-letters-are-letters",
        "a dead letter has another key each time it is written",
        (
            Edit(
                f"{CONTRACT}/headers.py",
                'return f"{topic}/{partition}/{offset}".encode()',
                'return f"{topic}/{partition}/{offset}/{id(object())}".encode()',
            ),
        ),
        ("tests/unit/contract/test_headers.py", "tests/unit/stream/test_letters.py"),
    ),
)


@contextmanager
def copy() -> Iterator[Path]:
    """A copy of what git knows of the checkout, changes included; removed afterwards."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    with tempfile.TemporaryDirectory(prefix="argus-defects-") as directory:
        tree = Path(directory)
        for name in filter(None, listed.decode().split("\0")):
            source, target = ROOT / name, tree / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        yield tree


def run(tree: Path, tests: Sequence[str], *options: str) -> Outcome:
    """Runs tests of the copy on the copy's own code."""
    packages = [str(tree / "components" / name) for name in PACKAGES]
    path = os.pathsep.join([*packages, str(tree / "operator"), str(tree)])
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    try:
        output = subprocess.run(  # noqa: S603  # our own tests
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
                *(f"--junitxml={report}", *options, *tests),
            ],
            cwd=tree,
            env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            text=True,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"the tests did not end within {SECONDS} s") from error
    return _read(report, output)


def _read(report: Path, output: str) -> Outcome:
    if not report.exists():
        return Outcome(0, (), ("pytest itself",), output)
    passed, failed, broken = 0, [], []
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314  # pytest wrote it
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        if case.find("failure") is not None:
            failed.append(name)
        elif case.find("error") is not None:
            broken.append(name)
        elif case.find("skipped") is None:
            passed += 1
    return Outcome(passed, tuple(failed), tuple(broken), output)


def search(tree: Path, defect: Defect) -> tuple[str, ...]:
    """The tests that find the defect; raises ValueError where none does."""
    originals = {edit.file: (tree / edit.file).read_bytes() for edit in defect.edits}
    try:
        for edit in defect.edits:
            edit.apply(tree)
        found = run(tree, defect.tests, "--maxfail=1")
    finally:
        for file, content in originals.items():
            (tree / file).write_bytes(content)
    if not found.failed:
        how = f"{found.passed} tests passed"
        if found.broken:
            how = f"tests could not run, which finds nothing: {', '.join(found.broken)}"
        raise ValueError(f"{how}\n{found.output[-2_000:]}" if found.broken else how)
    return found.failed


def check_all(tree: Path, defects: Sequence[Defect]) -> int:
    """Reports each defect; gives how many were not found."""
    tests = sorted({test for defect in defects for test in defect.tests})
    print(f"without a defect: {len(tests)} files and tests", flush=True)
    sound = run(tree, tests)
    if sound.failed or sound.broken:
        print(sound.output)
        raise ValueError("these tests fail without a defect, so they cannot find one")
    missed = 0
    for defect in defects:
        began = time.monotonic()
        print(f"\n{defect.name}: {defect.means}", flush=True)
        try:
            found = search(tree, defect)
        except ValueError as error:
            missed += 1
            print(f"  NOT FOUND: {error}", flush=True)
        else:
            seconds = time.monotonic() - began
            print(f"  found by {', '.join(found)} ({seconds:.0f} s)", flush=True)
    return missed


def main() -> int:
    """The exit code: 0 where every defect is found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = {defect.name: defect for defect in DEFECTS}
    parser.add_argument("name", nargs="*", help=f"one of: {', '.join(known)}")
    names = parser.parse_args().name
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no such defect: {', '.join(unknown)}")
    chosen = [known[name] for name in names] or list(DEFECTS)
    began = time.monotonic()
    with copy() as tree:
        try:
            missed = check_all(tree, chosen)
        except ValueError as error:
            print(f"defects.py: {error}", file=sys.stderr)
            return 1
    seconds = time.monotonic() - began
    print(f"\n{len(chosen)} defects, {len(chosen) - missed} found, {seconds:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
