"""Metrics of the hot path, at a tenth of what prometheus_client's own cost.

Theirs take a lock and several calls for each sample: two of them cost a request as much as decoding
its event does. Here a sample is an addition, on the event loop alone, and Prometheus's form is made
when somebody asks for it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Tally(Collector):
    """A counter with labels."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self.labels = labels
        self._counts: dict[tuple[str, ...], int] = {}
        registry.register(self)

    def add(self, labels: tuple[str, ...], count: int = 1) -> None:
        """Counts so many more of these labels' values."""
        counts = self._counts
        counts[labels] = counts.get(labels, 0) + count

    def forget(self, first: str) -> None:
        """Drops the series whose first label has this value."""
        for labels in [labels for labels in self._counts if labels[0] == first]:
            del self._counts[labels]

    def describe(self) -> Iterable[CounterMetricFamily]:
        """The metric without its series."""
        return (CounterMetricFamily(self._name, self._documentation, labels=self.labels),)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The metric as Prometheus has it."""
        (family,) = self.describe()
        for labels, count in list(self._counts.items()):
            family.add_metric(labels, count)
        yield family


class Durations(Collector):
    """A histogram of seconds without labels."""

    def __init__(
        self,
        name: str,
        documentation: str,
        bounds: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        """`bounds` of the buckets, in seconds and ascending."""
        self._name = name
        self._documentation = documentation
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def add(self, seconds: float) -> None:
        """Counts one more."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """The metric without its samples."""
        return (HistogramMetricFamily(self._name, self._documentation),)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The metric as Prometheus has it."""
        bounds = [*map(str, self._bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        family = HistogramMetricFamily(self._name, self._documentation)
        family.add_metric((), buckets, self._sum)
        yield family
