"""The last line of a run, for who reads nothing else: `N passed, N failed`.

A plugin: `pytest -p tests.summing`, or a conftest.py that imports its hook.
"""

import pytest

_COUNTED = {
    "passed": ("passed", "subtests passed"),
    "failed": ("failed", "subtests failed", "error"),
}


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Sums up in one line, the last one."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    sums = {
        word: sum(len(reporter.stats.get(name, ())) for name in names)
        for word, names in _COUNTED.items()
    }
    reporter.write_line(", ".join(f"{count} {word}" for word, count in sums.items()))
