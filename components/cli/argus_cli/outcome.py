"""What a demonstration came to: the sender's own record against everything ARGUS counts.

Pure. Other senders may be at work on the same tenant meanwhile, so what cannot be told apart by id
or mark is asked for as "at least".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from argus_cli.audit import Check
from argus_cli.ledger import Totals
from argus_cli.tally import Tally


@dataclass(frozen=True, slots=True)
class Outcome:
    """The sums of one run.

    `moved` is how far the ledger moved during it; `rows` how many of its accepted ids are in SQL;
    `letters` how many letters carry its mark; `live` what Redis counted by event name in the whole
    seconds in which its events were received, `received` the rows that SQL has of those seconds.
    """

    tally: Tally
    moved: Totals
    rows: int
    letters: int
    live: Mapping[str, int]
    received: Mapping[str, int]

    def checks(self) -> list[Check]:
        """Every equation between what the sender saw and what ARGUS has."""
        return [
            self._answered(),
            self._logged(),
            self._settled(),
            Check("skipped or lost", 0, self.moved.skipped + self.moved.lost),
            Check("accepted events that are rows, by id", len(self.tally.accepted_ids), self.rows),
            self._duplicates(),
            self._letters(),
            *self._counted(),
        ]

    def _answered(self) -> Check:
        missing = self.tally.unacknowledged
        reasons = ", ".join(f"{count} x {reason}" for reason, count in missing.items())
        answered = self.tally.requests - missing.total()
        return Check("requests acknowledged", self.tally.requests, answered, reasons)

    def _logged(self) -> Check:
        acknowledged = self.tally.acknowledged
        surplus = self.moved.records - acknowledged
        note = f"{surplus} more than acknowledged: retries, or other senders" if surplus > 0 else ""
        return Check(
            "events acknowledged <= records in the log",
            acknowledged,
            self.moved.records,
            note,
            at_least=True,
        )

    def _settled(self) -> Check:
        settled = self.moved.stored + self.moved.duplicate + self.moved.dead_lettered
        return Check("records read = stored + duplicate + dead-lettered", self.moved.read, settled)

    def _duplicates(self) -> Check:
        return Check(
            "events sent twice, counted as duplicates",
            self.tally.repeated,
            self.moved.duplicate,
            at_least=True,
        )

    def _letters(self) -> Check:
        return Check(
            "events rejected = letters in the topic, by mark",
            self.tally.rejected.total(),
            self.letters,
            at_least=self.tally.retried > 0,
        )

    def _counted(self) -> Iterator[Check]:
        for event in sorted(self.received.keys() | self.live.keys()):
            rows, counted = self.received.get(event, 0), self.live.get(event, 0)
            yield Check(f"{event}: rows = counted live", rows, counted)
