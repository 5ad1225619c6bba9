"""Asks the release's Services whether it can take events. Arguments: ingest's URL, ops URLs."""

import sys
import urllib.error
import urllib.request


def status(url: str, body: bytes | None = None) -> int:
    """The HTTP status of a GET, or of a POST where there is a body."""
    try:
        with urllib.request.urlopen(url, data=body, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code


ingest, *operations = sys.argv[1:]
# no key: 401 from a pod that knows all tenants, 503 from one that does not know them yet
expected = {f"{url}/readyz": (None, 200) for url in operations} | {f"{ingest}/v1/events": (b"{}", 401)}
failed = False
for url, (body, wanted) in expected.items():
    found = status(url, body)
    failed |= found != wanted
    print(f"{'ok' if found == wanted else 'FAILED'}: {url} answered {found}, wanted {wanted}")
sys.exit(failed)
