"""TLS contexts: always verified, against the system's authorities or a bundle of the user's."""

import ssl
from pathlib import Path


def context(ca_file: Path | None, *, verify: bool = True) -> ssl.SSLContext:
    """A client context; `verify=False` encrypts without checking who answers.

    Raises FileNotFoundError or ssl.SSLError where the bundle cannot be read.
    """
    made = ssl.create_default_context(cafile=ca_file)
    if not verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made
