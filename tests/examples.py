"""The files of examples/, and what their headers say of them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

DIRECTORY: Final = Path(__file__).parents[1] / "examples"
FILES: Final = sorted(path.name for path in DIRECTORY.glob("*.yaml"))
PLURALS: Final = {
    "ArgusTenant": "argustenants",
    "ArgusPipeline": "arguspipelines",
    "ArgusReplay": "argusreplays",
}
EXPECT: Final = re.compile(r"^# expect: (\w+)/([\w-]+) (\w+)=(True|False)/(\w+)$", re.MULTILINE)
NEEDS: Final = re.compile(r"^# needs: (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Expectation:
    """A condition that a resource of the file comes to; `kind` in lower case, as for kubectl."""

    kind: str
    name: str
    condition: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Example:
    """One file: its header, and its objects in order."""

    text: str
    header: str
    objects: tuple[dict[str, Any], ...]
    expectations: tuple[Expectation, ...]
    needs: tuple[str, ...]

    @property
    def resources(self) -> tuple[dict[str, Any], ...]:
        """The objects of kinds of ours."""
        return tuple(found for found in self.objects if found["kind"] in PLURALS)


def load(file: str) -> Example:
    """An example by the name of its file."""
    text = (DIRECTORY / file).read_text(encoding="utf-8")
    header = text[: text.index("\napiVersion:")]
    return Example(
        text=text,
        header=header,
        objects=tuple(yaml.safe_load_all(text)),
        expectations=tuple(Expectation(*found) for found in EXPECT.findall(header)),
        needs=tuple(NEEDS.findall(header)),
    )
