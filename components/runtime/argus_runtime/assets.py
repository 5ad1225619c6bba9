"""Files that are no Python: the scripts that Redis runs and the SQL that PostgreSQL runs."""

import os
from pathlib import Path
from typing import Final

ENVIRONMENT: Final = "ARGUS_ASSETS"
"""Environment variable with the directory that holds `lua/` and `db/`; the image sets it."""

_CHECKOUT: Final = Path(__file__).parents[3]


def path(*parts: str) -> Path:
    """The path of an asset such as `path("lua", "token_bucket.lua")`.

    Raises FileNotFoundError that names the variable to set where there is no such asset.
    """
    found = Path(os.environ.get(ENVIRONMENT) or _CHECKOUT).joinpath(*parts)
    if not found.exists():
        raise FileNotFoundError(f"{found} does not exist; is {ENVIRONMENT} set to ARGUS's assets?")
    return found
