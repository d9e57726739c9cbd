"""Where one request can go, one after another, and what is sent there."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errands import Answered, Errand, Sent
from gateway.metering import Measure
from gateway.passage import Course
from gateway.ports import Caller, Route, Routes
from gateway.refusals import GatewayRefusal
from gateway.relay import Relay
from wire.http_head import Header, Request, request_bytes
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
    _tried: list[str] = field(default_factory=list)

    def next(self) -> Course | Answered:
        """One that was not tried yet; GatewayRefusal when there is none."""
        route = self.routes.resolve(self.errand.model, self.errand.task, self.caller.project, self._tried)
        self._tried.append(route.instance)
        sent = self.errand.sent(route)
        return sent if isinstance(sent, Answered) else self._course(route, sent)

    def another(self) -> Course | None:
        """After one failed; None: there is none left."""
        try:
            found = self.next()
        except GatewayRefusal:
            return None
        return found if isinstance(found, Course) else None

    def _course(self, route: Route, sent: Sent) -> Course:
        request, trace = self.request, self.trace
        headers = [*_for_engine(request, sent), *_route_headers(route), *trace_headers(request, trace)]
        path = request.path.decode("latin-1")
        return Course(
            self.relay.pool(route.node),
            request_bytes(request.method, sent.target, headers, sent.body),
            Measure(route, self.caller, path, streamed=self.errand.streamed, trace_id=trace.trace_id),
            sent.rendering(trace.trace_id) if sent.rendering else None,
        )


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
