"""What to try next: lines to paste, with this installation's own names in them.

`table x order by …` is SQL for `select * from x order by …`.
"""

import os
import shlex
import shutil
import sys

from argus_contract.registry import TenantDocument
from rich.text import Text

_EVENT = '{"event":"page_view","distinct_id":"me","properties":{"url":"https://shop.example/"}}'
_BROKEN = '{"event":"page_view","distinct_id":"me","properties":{}}'


def curl(url: str, key: str, event: str) -> str:
    """A command that sends one event."""
    header = shlex.quote(f"Authorization: Bearer {key}")
    return f"curl -i {url}/v1/events -H {header} -H 'Content-Type: application/json' -d '{event}'"


def _program() -> str:
    """How this program is called from here: by name where the shell would find it."""
    return "argus" if shutil.which("argus") else os.path.relpath(sys.argv[0])


def hints(url: str, key: str, tenant: TenantDocument) -> Text:
    """Commands that send an event, and that show it in SQL, in Redis and among dead letters."""
    pipeline = tenant.pipelines[0]
    table = f"{pipeline.schema}.{pipeline.table}"
    rows = f"table {table} order by received_at desc limit 5"
    letters = "table argus.dead_letters order by at desc limit 5"
    counter = f"{{{tenant.id}}}:live:{pipeline.name}:"
    lines = [
        ("An event, answered 202", curl(url, key, _EVENT)),
        ("One without its url, a dead letter", curl(url, key, _BROKEN)),
        ("The commands below need", 'eval "$(make -s env)"'),
        ("The newest rows", f'psql "$ARGUS_DATABASE_URL" -xc "{rows}"'),
        ("The newest dead letters", f'psql "$ARGUS_DATABASE_URL" -xc "{letters}"'),
        (
            "Live counters, a second each",
            f"redis-cli -u \"$ARGUS_REDIS_URL\" --scan --pattern '{counter}*'",
        ),
        ("Everything counted again", f"{_program()} ledger --audit"),
    ]
    text = Text(f"\nURL  {url}\nKey  {key}\n")
    for title, command in lines:
        text.append(f"\n{title}\n" if title else "", style="bold")
        text.append(f"  {command}\n")
    return text
