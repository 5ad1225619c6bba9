"""What the kernel's tables say, read."""

import os

import pytest

from bench import accounting
from bench.accounting import Process, parse_stat


def _stat(name: str = "python", *, ticks: tuple[int, int, int, int] = (1, 2, 3, 4)) -> str:
    used = " ".join(map(str, ticks))
    return (
        f"42 ({name}) S 7 42 42 0 -1 4194560 100 0 0 0 {used} 20 0 9 0 12345 1000000 250 18446744"
    )


def _process(pid: int, parent: int, cpu: float = 1.0, resident: int = 10) -> Process:
    return Process(pid, parent, cpu, resident)


def test_a_stat_line_gives_parent_cpu_and_memory() -> None:
    process = parse_stat(_stat())
    assert (process.pid, process.parent) == (42, 7)
    assert process.cpu == pytest.approx(10 / os.sysconf("SC_CLK_TCK"))
    assert process.resident == 250 * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("name", ["a b", "a) S 9 (b", "((", "kworker/0:1"])
def test_a_name_may_hold_blanks_and_parentheses(name: str) -> None:
    assert parse_stat(_stat(name)) == parse_stat(_stat())


def test_children_that_ended_count() -> None:
    alone, with_dead = _stat(ticks=(5, 5, 0, 0)), _stat(ticks=(5, 5, 20, 10))
    assert parse_stat(with_dead).cpu == pytest.approx(4 * parse_stat(alone).cpu)


def test_a_tree_is_the_root_and_all_its_descendants_and_nobody_else() -> None:
    table = {p.pid: p for p in (_process(1, 0), _process(2, 1), _process(3, 2), _process(4, 1))}
    assert {process.pid for process in accounting.tree(table, 2)} == {2, 3}
    assert accounting.cpu(table, [2, 4]) == 3.0


def test_memory_is_that_of_the_largest_tree() -> None:
    table = {p.pid: p for p in (_process(2, 1, resident=10), _process(3, 2), _process(4, 1))}
    assert accounting.resident(table, [2, 4]) == 20


def test_a_root_that_has_ended_is_an_error_not_nothing() -> None:
    with pytest.raises(LookupError, match="9"):
        accounting.cpu({}, [9])


def test_the_process_at_hand_is_found_and_its_cpu_never_goes_back() -> None:
    before = accounting.cpu(accounting.table(), [os.getpid()])
    sum(number * number for number in range(300_000))
    after = accounting.table()
    assert accounting.cpu(after, [os.getpid()]) >= before > 0
    assert accounting.resident(after, [os.getpid()]) > accounting.MIB
