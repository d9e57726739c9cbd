"""Which request goes where, and who may send it."""

from __future__ import annotations

from collections.abc import Callable

from gateway.answers import answered
from gateway.application import ApplicationPool
from gateway.courses import Courses, forwarded, trace_headers
from gateway.dialects.paths import Dialect, dialect_of, is_inference
from gateway.errands import ERRANDS, Answered, Errand
from gateway.listings import Listings
from gateway.passage import Client, Course, Passage
from gateway.ports import Caller, Callers, Meter, Routes
from gateway.refusals import MethodNotAllowed, PathNotFound, Unauthorized
from gateway.relay import Relay
from gateway.settings import GatewaySettings
from wire.http_head import Request, request_bytes
from wire.trace import TraceContext, continued, new

_HEALTH = b"/healthz"


Way = Callable[[Client, TraceContext], bytes | Passage]
"""How one request is served: an answer of our own, or a passage to start."""


class Dispatch:
    def __init__(
        self,
        routes: Routes,
        callers: Callers,
        meter: Meter,
        *,
        relay: Relay,
        application: ApplicationPool,
        settings: GatewaySettings,
    ) -> None:
        self._routes = routes
        self._listings = Listings(routes)
        self._callers = callers
        self._meter = meter
        self._relay = relay
        self._application = application
        self._settings = settings

    def check(self, request: Request) -> Way:
        """How to serve the request, judged by its head; GatewayRefusal when it may not be sent here."""
        path = request.path
        if path == _HEALTH:
            _only(request, b"GET")
            return lambda _, trace: answered({"status": "ok"}, trace.trace_id, close=False)
        if not is_inference(path):
            request.body_limit = min(request.body_limit, self._settings.application_body_bytes)
            return lambda client, trace: self._to_application(request, client, trace)
        caller = self._caller(request)
        errand_of = ERRANDS.get(path)
        if errand_of is not None:
            _only(request, b"POST")
            return lambda client, trace: self._to_engine(request, errand_of(request), caller, client, trace)
        return self._told(request, path)

    def _told(self, request: Request, path: bytes) -> Way:
        found = self._listings.find(path)
        if found is None:
            raise PathNotFound(
                f"{path.decode('latin-1')[:200]} is not served here.", f"Use one of: {self._paths(dialect_of(path))}."
            )
        method, listing = found
        _only(request, method)
        return lambda _, trace: answered(listing(request), trace.trace_id, close=False)

    def _paths(self, dialect: Dialect) -> str:
        served = (*self._listings.paths, *ERRANDS)
        return ", ".join(path.decode() for path in served if dialect_of(path) is dialect)

    def _caller(self, request: Request) -> Caller:
        authorization = _authorization(request)
        caller = self._callers.authenticate(authorization)
        if caller is None:
            text = "The API key is wrong or revoked." if authorization else "No API key was sent."
            remedy = "Send a project's key, or the token of a context file, as 'Authorization: Bearer ID.SECRET'."
            raise Unauthorized(text, remedy)
        return caller

    def _to_engine(
        self, request: Request, errand: Errand, caller: Caller, client: Client, trace: TraceContext
    ) -> bytes | Passage:
        courses = Courses(request, errand, caller, trace, self._routes, self._relay)
        first = courses.next()
        if isinstance(first, Answered):
            return answered(first.value, trace.trace_id, close=False)
        record = self._meter.record
        return Passage(client, first, request.method, self._settings, record=record, another=courses.another)

    def _to_application(self, request: Request, client: Client, trace: TraceContext) -> Passage:
        headers = [*forwarded(request, frozenset((b"traceparent", b"x-request-id"))), *trace_headers(request, trace)]
        message = request_bytes(request.method, request.origin_target, headers, request.body)
        return Passage(client, Course(self._application, message), request.method, self._settings)


def trace_of(request: Request) -> TraceContext:
    traceparent = request.header(b"traceparent")
    return continued(traceparent.decode("latin-1")) if traceparent else new()


def _authorization(request: Request) -> str | None:
    """Anthropic's clients send the key by itself."""
    authorization = request.header(b"authorization")
    if authorization is None and (key := request.header(b"x-api-key")):
        authorization = b"Bearer " + key
    return authorization.decode("latin-1") if authorization else None


def _only(request: Request, method: bytes) -> None:
    if request.method != method:
        allow = method.decode()
        raise MethodNotAllowed(f"{request.method.decode()} is not possible here.", f"Use {allow}.", allow=allow)
