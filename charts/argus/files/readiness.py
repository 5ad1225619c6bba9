"""Asks the release's Services whether it can take events. Arguments: ingest's URL, ops URLs."""

import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit

TIMEOUT_S = 10.0


def status(method: str, url: str) -> int | str:
    """The HTTP status, or what kept it from coming."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
    try:
        connection.request(method, parts.path)
        return connection.getresponse().status
    except OSError as error:
        return repr(error)
    finally:
        connection.close()


def main(ingest: str, *operations: str) -> int:
    """Asks them all and returns how many did not answer as they should."""
    # no key: 401 from a pod that knows all tenants, 503 from one that does not know them yet
    questions = [("POST", f"{ingest}/v1/events", 401)]
    questions += [("GET", f"{url}/readyz", 200) for url in operations]
    failures = 0
    for method, url, wanted in questions:
        found = status(method, url)
        failures += found != wanted
        print(f"{'ok' if found == wanted else 'FAILED'}: {method} {url}: {found}, wanted {wanted}")
    return failures


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
