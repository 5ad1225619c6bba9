"""`make bench-local`: the whole system as processes of this host, held against every budget."""

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench import ceilings, peer, processes, profiles, report, stats
from bench.driving import WARM_S, cost, generating
from bench.house import Group, Setting
from bench.load import TICK, refused
from bench.results import Results
from bench.session import Session, session
from bench.trial import Run, measure
from bench.workshop import Workshop, workshop

SATURATED: Final = 0.7
"""Share of what was sustained at which latencies are judged."""
_FIRST_SECONDS: Final = 45.0
"""Of a run before those that count: the broker's JVM compiles what they then run, which takes as
much CPU as the broker itself in the first half minute."""
_ROUNDS: Final = 3
"""In which the edge and the peer take turns."""
_SHARES: Final = {"p50": 0.5, "p99": 0.99, "p999": 0.999}


def groups(setting: Setting) -> dict[str, Group]:
    """One tenant for each mode, so that neither's rows are the other's."""
    return {mode: Group(partitions=setting.partitions) for mode in setting.modes}


def conduct(setting: Setting, scratch: Path, results: Results) -> None:
    """The whole bench; `results` is filled as it goes."""
    with workshop(setting, groups(setting), scratch) as house:
        asyncio.run(_run(setting, house, results))


async def _run(setting: Setting, house: Workshop, results: Results) -> None:
    """All of the bench on a house; `results` is filled as it goes."""
    async with session(setting, house) as opened:
        await load(opened, results)
        if setting.profile is not None:
            for mode in setting.modes:
                await profile(opened, mode, setting.profile)
        if setting.ceilings:
            results.figures |= await reach(setting, house)
        if setting.peer is not None:
            results.figures |= await outdo(opened, house, setting.peer)


async def load(opened: Session, results: Results) -> None:
    """Every mode at full load, then at a share of it."""
    modes = opened.setting.modes
    for mode in modes:
        await saturate(opened, mode, results)
    results.figures |= resident([one for runs in results.runs.values() for one in runs])
    for mode in modes:
        results.figures |= await pace(opened, mode, results.figures)


async def saturate(opened: Session, mode: str, results: Results) -> None:
    """The runs at full load, and their medians."""
    runs = results.runs[mode] = []
    if opened.setting.runs > 1:
        report.progress(f"{mode}: {_FIRST_SECONDS:.0f} s of load that do not count")
        await measure(opened.system(mode), opened.offer(mode, mode), _FIRST_SECONDS)
    for number in range(opened.setting.runs):
        done = await measure(opened.system(mode), opened.offer(mode, mode), opened.setting.seconds)
        runs.append(done)
        report.progress(report.run_line(mode, number + 1, done))
    results.figures |= medians(mode, runs)


async def pace(opened: Session, mode: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Latencies at a share of what the runs sustained."""
    rate = SATURATED * figures[f"{mode}.sustained"]
    report.progress(f"{mode}: latencies at {rate:,.0f} events/s")
    seconds = WARM_S + opened.setting.latency_seconds
    offer = opened.offer(mode, mode, events=rate, seconds=seconds)
    ledger, watch = opened.ledger(mode), opened.watch(mode)
    before = await ledger.position()
    async with watch.watching(), generating(offer) as generator:
        outcome = await generator.outcome()
        await ledger.drained(before, outcome.requests * offer.batch)
    delays = await watch.delays(outcome, offer.run)
    warm = round(stats.window(outcome.ticks, TICK, 0, WARM_S))
    found = {"accept": sorted(outcome.latencies[warm:]), "row": delays.rows, "live": delays.live}
    turned_away = figures[f"{mode}.refused"] + refused(outcome.statuses)
    return {f"{mode}.refused": turned_away, f"{mode}.rate_at_70": rate} | {
        f"{mode}.{name}_{label}": 1e3 * stats.percentile(values, share)
        for name, values in found.items()
        for label, share in _SHARES.items()
    }


async def profile(opened: Session, mode: str, directory: Path) -> None:
    """One more run with samplers attached, which cost something: it counts for nothing else."""
    report.progress(f"{mode}: flame graphs to {directory}")
    pids = {
        f"{mode}-{component}-{number}": pid
        for component in ("ingest", "stream")
        for number, pid in enumerate(opened.house.roots[component])
    }
    with profiles.recording(pids, directory):
        await measure(opened.system(mode), opened.offer(mode, mode), opened.setting.seconds)


async def reach(setting: Setting, house: Workshop) -> dict[str, float]:
    """What the parts could do at best."""
    report.progress("ceilings: a bare HTTP server, producer-perf-test, COPY, valkey-benchmark")
    engines, where = house.engines, house.where
    return {
        **await ceilings.http(min(5.0, setting.seconds), setting.connections),
        **await ceilings.kafka(engines["kafka"], where, house.scratch),
        **await ceilings.postgres(engines["postgres"], where),
        **await asyncio.to_thread(ceilings.valkey, engines["valkey"], where),
    }


async def outdo(opened: Session, house: Workshop, program: Path) -> dict[str, float]:
    """What the edge and the peer cost in turn, on the same broker, and ours over the peer's.

    The stream stands still meanwhile: nobody reads what the peer writes either.
    """
    setting, stream = opened.setting, house.roots["stream"]
    report.progress("the peer: an OpenTelemetry Collector, otlphttp to Kafka")
    costs: dict[str, list[float]] = {}
    async with peer.standing(program, house.where, house.scratch, setting.partitions) as pid:
        with processes.held(stream):
            for _ in range(_ROUNDS if setting.runs > 1 else 1):
                for mode in setting.modes:
                    for name, spent in (await _face(opened, mode, pid)).items():
                        costs.setdefault(f"{name}.{mode}", []).append(spent)
    figures = {name: statistics.median(values) for name, values in costs.items()}
    return figures | {
        f"edge.{mode}": figures[f"ours.{mode}"]
        / min(figures[f"peer.{dialect}.{mode}"] for dialect in peer.DIALECTS)
        for mode in setting.modes
    }


async def _face(opened: Session, mode: str, pid: int) -> dict[str, float]:
    """One round of a mode: CPU in µs for each event, ours and the peer's."""
    seconds = min(5.0, opened.setting.seconds)
    offer = opened.offer(mode, mode)
    spent = await cost({"ours": opened.house.roots["ingest"]}, offer, seconds)
    costs = {"ours": spent.each("ours", offer.batch)}
    theirs = await peer.measure(pid, offer.batch, offer.connections, seconds)
    costs |= {f"peer.{dialect}": cost for dialect, cost in theirs.items()}
    report.progress(report.round_line(mode, costs))
    return costs


def medians(mode: str, runs: Sequence[Run]) -> dict[str, float]:
    """Figures of a mode from its runs: medians, but sums of what must not be."""
    figures = {
        f"{mode}.{name}": statistics.median(run.cpu[name] for run in runs) for name in runs[0].cpu
    }
    for name in ("accepted", "stored", "sustained", "whole", "p50", "p99", "p999"):
        figures[f"{mode}.{name}"] = statistics.median(getattr(run, name) for run in runs)
    figures[f"{mode}.lost"] = sum(run.lost for run in runs)
    figures[f"{mode}.twice"] = sum(run.twice for run in runs)
    figures[f"{mode}.refused"] = sum(refused(run.statuses) for run in runs)
    return figures


def resident(runs: Sequence[Run]) -> dict[str, float]:
    """The most memory of each component's processes over all runs, in MiB."""
    return {
        f"resident.{name}": max(run.resident[name] for run in runs) for name in ("ingest", "stream")
    }
