"""Runs the ASGI application on a Unix socket, inside this process and its loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

_GRACE_SECONDS = 1


@asynccontextmanager
async def hosted(application: ASGIApp, path: Path) -> AsyncIterator[None]:
    """Serve on `path`, which only this user may open, until the block ends.

    uvicorn's own loop is not run: it would take the process's signals and wake ten times a second.
    """
    config = uvicorn.Config(
        application,
        uds=str(path),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    _keep_to_ourselves(path)
    try:
        yield
    finally:
        await server.shutdown()
        _remove(path)


def _keep_to_ourselves(path: Path) -> None:
    path.chmod(0o600)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
