"""Where one request can go, one after another, and what is sent there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial

from gateway.dialects.rendering import Rendering
from gateway.dialects.unframed import Unframed
from gateway.errands import Answered, Errand, Sent
from gateway.metering import Measure
from gateway.passage import Course
from gateway.ports import Caller, Route, Routes, Task
from gateway.refusals import GatewayRefusal, Loading
from gateway.relay import Relay
from gateway.seats import Lines, Seat
from wire.http_head import OLD_VERSION, Header, Request, request_bytes
from wire.trace import TraceContext

_KEPT_FROM_ENGINES = frozenset((b"authorization", b"cookie", b"host", b"traceparent", b"x-api-key", b"x-request-id"))


@dataclass(slots=True)
class Courses:
    request: Request
    errand: Errand
    caller: Caller
    trace: TraceContext
    routes: Routes
    relay: Relay
    lines: Lines
    _tried: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Instances, each with the claim and fence under which it was tried last."""

    def next(self) -> Course | Answered:
        """One that was not tried yet; GatewayRefusal when there is none."""
        return self._to(self._resolved(self._tried))

    def afresh(self) -> Course | Answered:
        """As if nothing had been tried; GatewayRefusal."""
        self._tried.clear()
        return self.next()

    def another(self) -> Course | None:
        """After one failed; None: there is none left.

        GatewayRefusal: for a claim, which says more than the failure. Loading: it has to wait.
        """
        try:
            found = self.next()
        except GatewayRefusal:
            return self._again()
        return found if isinstance(found, Course) else None

    def _again(self) -> Course | None:
        """Where it was tried already, if that is held otherwise by now."""
        try:
            route = self._resolved()
        except GatewayRefusal as refusal:
            if refusal.about_claims or isinstance(refusal, Loading):
                raise
            return None
        if self._tried.get(route.instance) == (route.claim, route.fence):
            self.routes.left(route)
            if route.on_demand:
                raise Loading(f"{route.model_alias} does not serve now.", "Try again.", runtime=route.model_alias)
            return None
        found = self._to(route)
        return found if isinstance(found, Course) else None

    def _resolved(self, avoid: Collection[str] = ()) -> Route:
        caller = self.caller
        asked, body = self.errand, self.request.body
        return self.routes.resolve(asked.model, asked.task, caller.project, avoid, claim=caller.claim, body=body)

    def _to(self, route: Route) -> Course | Answered:
        self._tried[route.instance] = route.claim, route.fence
        try:
            sent = self.errand.sent(route)
        except GatewayRefusal:
            self.routes.left(route)
            raise
        if isinstance(sent, Answered):
            self.routes.left(route)
            return sent
        return self._course(route, sent)

    def _course(self, route: Route, sent: Sent) -> Course:
        request, trace = self.request, self.trace
        headers = [*_for_engine(request, sent), *_route_headers(route), *trace_headers(request, trace)]
        path = request.path.decode("latin-1")
        pool = self.relay.pool(route.node)
        seat = self.lines.seat(route, self.caller, pool) if self.errand.task is not Task.COUNT else None
        return Course(
            seat or pool,
            request_bytes(request.method, sent.target, headers, sent.body),
            Measure(route, self.caller, path, streamed=self.errand.streamed, trace_id=trace.trace_id),
            self._rendering(sent),
            partial(self._leave, route, seat),
            on_demand=route.on_demand,
        )

    def _leave(self, route: Route, seat: Seat | None) -> None:
        self.routes.left(route)
        if seat is not None:
            seat.left()

    def _rendering(self, sent: Sent) -> Rendering | None:
        rendering = sent.rendering(self.trace.trace_id) if sent.rendering else None
        return Unframed(rendering) if self.request.version == OLD_VERSION else rendering


def forwarded(request: Request, kept: frozenset[bytes]) -> list[Header]:
    return [(key, value) for key, value in request.end_to_end_headers() if key not in kept]


def trace_headers(request: Request, trace: TraceContext) -> list[Header]:
    asked = request.header(b"x-request-id")
    return [
        (b"traceparent", trace.header.encode()),
        (b"x-request-id", asked if asked and len(asked) <= 128 else trace.trace_id.encode()),  # noqa: PLR2004 - a sane id
    ]


def _for_engine(request: Request, sent: Sent) -> list[Header]:
    """A body that was put into other words is JSON, and so must be an answer that will be."""
    passed = forwarded(request, _KEPT_FROM_ENGINES)
    if sent.rendering is None:
        return passed
    fitting = [header for header in passed if header[0] != b"accept-encoding"]
    if sent.body is request.body:
        return fitting
    return [header for header in fitting if header[0] != b"content-type"] + [(b"content-type", b"application/json")]


def _route_headers(route: Route) -> list[Header]:
    return [
        (b"host", b"engine"),
        (b"x-arw-instance", route.instance.encode()),
        (b"x-arw-claim", route.claim.encode()),
        (b"x-arw-fence", b"%d" % route.fence),
    ]
