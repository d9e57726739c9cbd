"""The ASGI application behind the gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from control_plane.domain.errors import InvalidArgument
from control_plane.http.documents import DOCUMENTS, Document, Views
from control_plane.http.event_stream import Subscription, event_frames, once
from control_plane.http.openapi import PUBLISHED
from control_plane.http.orders import order_routes
from control_plane.http.problems import UNAUTHORIZED, broken, failed, problem, refused, trace_id
from control_plane.http.published import served
from control_plane.http.server_sent import ServerSentEvents
from control_plane.http.updates import Updates
from control_plane.http.versions import Version, matching
from gateway.ports import Callers
from wire.refusal import Refusal

REVALIDATED = "private, no-cache"
"""Whoever keeps an answer asks with its tag before it is used again."""
_SAID = {"": True, "true": True, "false": False}


def application(views: Views) -> Callable[[Callers], ASGIApp]:
    """How to make the application once it is known who may call."""
    return lambda callers: _application(views, callers)


def _application(views: Views, callers: Callers) -> Starlette:
    return Starlette(
        routes=[
            *(Route(document.path, _state(document, views, callers)) for document in DOCUMENTS),
            *(Route(path, partial(_published, path)) for path in PUBLISHED),
            Route("/events", _events(views, callers)),
            *order_routes(views.orders, callers),
        ],
        middleware=[Middleware(_Bearer, callers=callers)],
        exception_handlers={Refusal: refused, HTTPException: failed, Exception: broken},
    )


def _state(document: Document, views: Views, callers: Callers) -> Callable[[Request], object]:
    take = partial(document.taken, views)
    updates = Updates(document.id, take, views.bell.on_ring)

    async def answer(request: Request) -> ASGIApp:
        if _watches(request):
            etag = request.headers.get("last-event-id", "")
            return _stream(partial(updates.frames, trace_id(request), etag), request, callers)
        return _document(await take(), request)

    return answer


def _events(views: Views, callers: Callers) -> Callable[[Request], object]:
    async def answer(request: Request) -> ASGIApp:
        wanted = Subscription.of(request)
        return _stream(partial(event_frames, views.events, wanted, trace_id(request)), request, callers)

    return answer


async def _published(path: str, request: Request) -> Response:
    return _document(served(path), request)


def _stream(frames: Callable[[], AsyncGenerator[bytes, None]], request: Request, callers: Callers) -> ServerSentEvents:
    authorization = request.headers.get("authorization")
    return ServerSentEvents(frames, lambda: callers.authenticate(authorization) is not None, trace_id(request))


def _document(version: Version, request: Request) -> Response:
    headers = {"cache-control": REVALIDATED, "etag": version.etag}
    same = matching(request.headers.get("if-none-match", ""), version)
    if same:
        return Response(status_code=304, headers=headers | {"etag": same})
    return Response(version.body, media_type="application/json", headers=headers)


def _watches(request: Request) -> bool:
    """InvalidArgument."""
    said = once(request, "watch")
    if said is None:
        return False
    if said not in _SAID:
        raise InvalidArgument(f"watch={said[:40]!r} is neither true nor false.", "Use ?watch=true for a stream.")
    return _SAID[said]


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
