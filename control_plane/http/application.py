"""The ASGI application behind the gateway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from control_plane.http import shapes
from control_plane.http.event_stream import EventStream
from control_plane.http.problems import UNAUTHORIZED, broken, failed, problem, refused, trace_id
from control_plane.use_cases.get_matrix import GetMatrix
from control_plane.use_cases.get_supervisor import GetSupervisor
from control_plane.use_cases.watch_events import WatchEvents
from gateway.ports import Callers
from wire.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Views:
    """The use cases behind the paths."""

    matrix: GetMatrix
    supervisor: GetSupervisor
    events: WatchEvents


def application(views: Views) -> Callable[[Callers], ASGIApp]:
    """How to make the application once it is known who may call."""
    return lambda callers: _application(views, callers)


def _application(views: Views, callers: Callers) -> Starlette:
    async def matrix(_: Request) -> Response:
        return _json(shapes.matrix(await views.matrix()))

    async def supervisor(_: Request) -> Response:
        return _json(shapes.supervisor(await views.supervisor()))

    async def runtimes(_: Request) -> Response:
        return _json(shapes.runtimes(await views.supervisor()))

    async def events(request: Request) -> ASGIApp:
        authorization = request.headers.get("authorization")
        return EventStream(views.events, request, lambda: callers.authenticate(authorization) is not None)

    return Starlette(
        routes=[
            Route("/state/runtime_matrix", matrix),
            Route("/state/runtime_supervisor", supervisor),
            Route("/state/runtimes", runtimes),
            Route("/events", events),
        ],
        middleware=[Middleware(_Bearer, callers=callers)],
        exception_handlers={Refusal: refused, HTTPException: failed, Exception: broken},
    )


class _Bearer:
    """Lets only known callers in, whatever they ask for."""

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            if self._callers.authenticate(request.headers.get("authorization")) is None:
                await _unauthorized(request)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _unauthorized(request: Request) -> Response:
    return problem(
        401,
        UNAUTHORIZED,
        code="UNAUTHENTICATED",
        trace_id=trace_id(request),
        headers={"www-authenticate": 'Bearer realm="arw"'},
    )


def _json(value: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json", headers={"cache-control": "no-store"})
