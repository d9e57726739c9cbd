"""Which request goes where, and who may send it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.answers import answered
from gateway.application import ApplicationPool
from gateway.courses import Courses, forwarded, trace_headers
from gateway.credential import credential_of
from gateway.dialects.paths import Dialect, dialect_of, is_inference, shape_of
from gateway.dialects.unframed import Unframed
from gateway.errands import ERRANDS, Answered, Errand
from gateway.listings import Listings
from gateway.loading import LoadingRoom, Vigil, Wish
from gateway.passage import Client, Course, Passage
from gateway.ports import Caller, Callers, Meter, Routes
from gateway.refusals import Loading, MethodNotAllowed, PathNotFound, Unauthorized
from gateway.relay import Relay
from gateway.seats import Lines
from gateway.settings import GatewaySettings
from wire.http_head import OLD_VERSION, Request, request_bytes
from wire.trace import TraceContext, continued, new

_HEALTH = b"/healthz"
_OF_EVENTS = (Dialect.OPENAI, Dialect.ANTHROPIC)
"""Their streams are events, among which there may be comments."""


Way = Callable[[Client, TraceContext], bytes | Passage | Vigil]
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
        self._lines = Lines(settings)
        self._application = application
        self._settings = settings
        self.loading = LoadingRoom(routes, settings)

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
        if path in ERRANDS:
            _only(request, b"POST")
            return self.asked(request, caller)
        return self._told(request, path)

    def asked(self, request: Request, caller: Caller) -> Way:
        """Of an engine, by one who is known already; PathNotFound."""
        errand_of = ERRANDS.get(request.path)
        if errand_of is None:
            paths = ", ".join(path.decode() for path in ERRANDS)
            raise PathNotFound("No engine is asked by that path.", f"Use one of: {paths}.")
        return lambda client, trace: self._to_engine(request, errand_of(request), caller, client, trace)

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
        sent = credential_of(request)
        caller = self._callers.authenticate(sent.authorization)
        if caller is None:
            text = "The API key is wrong or revoked." if sent.authorization else "No API key was sent."
            remedy = "Send a project's key, or the token of a context file, as 'Authorization: Bearer ID.SECRET'."
            raise Unauthorized(text, remedy)
        return replace(caller, claim=sent.claim) if sent.claim else caller

    def _to_engine(
        self, request: Request, errand: Errand, caller: Caller, client: Client, trace: TraceContext
    ) -> bytes | Passage | Vigil:
        courses = Courses(request, errand, caller, trace, self._routes, self._relay, self._lines)
        try:
            first = courses.next()
        except Loading as loading:
            return self._waiting(request, errand, courses, client, loading)
        if isinstance(first, Answered):
            return answered(first.value, trace.trace_id, close=False)
        if first.on_demand:
            return self._waiting(request, errand, courses, client, first)
        return self._passage(request.method, courses, client, first)

    def _passage(self, method: bytes, courses: Courses, client: Client, course: Course) -> Passage:
        record = self._meter.record
        return Passage(client, course, method, self._settings, record=record, another=courses.another)

    def _waiting(
        self, request: Request, errand: Errand, courses: Courses, client: Client, first: Course | Loading
    ) -> Vigil:
        told = errand.streamed and dialect_of(request.path) in _OF_EVENTS and request.version != OLD_VERSION
        wish = Wish(
            courses.afresh,
            lambda client, course: self._passage(request.method, courses, client, course),
            len(request.body),
            courses.trace.trace_id,
            shape_of(request.path),
            told,
        )
        return Vigil(client, self.loading, wish, first)

    def _to_application(self, request: Request, client: Client, trace: TraceContext) -> Passage:
        headers = [*forwarded(request, frozenset((b"traceparent", b"x-request-id"))), *trace_headers(request, trace)]
        message = request_bytes(request.method, request.origin_target, headers, request.body)
        rendering = Unframed(None) if request.version == OLD_VERSION else None
        course = Course(self._application, message, rendering=rendering)
        return Passage(client, course, request.method, self._settings)


def trace_of(request: Request) -> TraceContext:
    traceparent = request.header(b"traceparent")
    return continued(traceparent.decode("latin-1")) if traceparent else new()


def _only(request: Request, method: bytes) -> None:
    if request.method != method:
        allow = method.decode()
        raise MethodNotAllowed(f"{request.method.decode()} is not possible here.", f"Use {allow}.", allow=allow)
