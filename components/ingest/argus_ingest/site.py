"""Everything but the hot route, on FastAPI: the root, the documentation, and 404 as a problem."""

from typing import cast

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from argus_ingest import answer, openapi
from argus_ingest.errors import MethodNotAllowedError, NotFoundError, ProblemError
from argus_ingest.exchange import PATH

_TITLE = "ARGUS"
_VERSION = "1"
"""Of the HTTP interface, as in its paths; not of the software."""


async def _on_http_exception(request: Request, exception: Exception) -> Response:
    raised = cast(HTTPException, exception)
    problem: ProblemError
    if raised.status_code == MethodNotAllowedError.status:
        allow = (raised.headers or {}).get("Allow", "GET")
        problem = MethodNotAllowedError(
            f"{request.url.path} takes {allow}.", headers=((b"allow", allow.encode()),)
        )
    else:
        problem = NotFoundError(f"There is no {request.url.path}; events go to POST {PATH}.")
    status, headers, body = answer.problem(problem)
    return Response(body, status, {name.decode(): value.decode() for name, value in headers})


def create_site() -> FastAPI:
    """The application behind the hot route.

    Its OpenAPI document knows that route too, and its documentation needs nothing from outside.
    """
    site = FastAPIOffline(
        redoc_url=None,
        title=_TITLE,
        version=_VERSION,
        description="Send behavioural and system events.",
        exception_handlers={HTTPException: _on_http_exception},
    )

    @site.get("/", summary="What this is")
    async def root() -> JSONResponse:
        return JSONResponse({"service": "argus-ingest", "events": PATH, "docs": "/docs"})

    site.openapi_schema = openapi.extend(site.openapi())
    return site
