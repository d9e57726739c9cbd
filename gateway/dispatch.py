"""Which request goes where, and who may send it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.answers import answered, model_entry, model_list
from gateway.application import ApplicationPool
from gateway.errands import ERRANDS, Errand
from gateway.metering import Measure
from gateway.passage import Client, Passage
from gateway.ports import Caller, Callers, Meter, Route, Routes
from gateway.refusals import MethodNotAllowed, ModelNotFound, PathNotFound, Unauthorized
from gateway.relay import Relay
from gateway.settings import GatewaySettings
from wire.http_head import Header, Request, request_bytes
from wire.trace import TraceContext, continued, new

_MODELS = b"/v1/models"
_HEALTH = b"/healthz"
_KEPT_FROM_ENGINES = frozenset((b"authorization", b"cookie", b"host", b"traceparent", b"x-api-key", b"x-request-id"))


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
        if path != b"/v1" and not path.startswith(b"/v1/"):
            request.body_limit = min(request.body_limit, self._settings.application_body_bytes)
            return lambda client, trace: self._to_application(request, client, trace)
        caller = self._caller(request)
        errand_of = ERRANDS.get(path)
        if errand_of is not None:
            _only(request, b"POST")
            return lambda client, trace: self._to_engine(request, errand_of(request), caller, client, trace)
        return self._about_models(request, path)

    def _about_models(self, request: Request, path: bytes) -> Way:
        known = path == _MODELS or path.startswith(_MODELS + b"/")
        if not known:
            raise PathNotFound(
                f"{path.decode('latin-1')[:200]} is not served here.",
                f"Use one of: {', '.join(path.decode() for path in (_MODELS, *ERRANDS))}.",
            )
        _only(request, b"GET")
        name = path[len(_MODELS) + 1 :].decode("utf-8", "replace")
        return lambda _, trace: answered(self._model(name) if name else self._models(), trace.trace_id, close=False)

    def _models(self) -> dict[str, Any]:
        return model_list(self._routes.models())

    def _model(self, name: str) -> dict[str, Any]:
        for model in self._routes.models():
            if model.id == name:
                return model_entry(model)
        raise ModelNotFound(f"No model named {name[:200]!r} serves now.", "GET /v1/models lists what does.")

    def _caller(self, request: Request) -> Caller:
        authorization = request.header(b"authorization")
        caller = self._callers.authenticate(authorization.decode("latin-1") if authorization else None)
        if caller is None:
            text = "The API key is wrong or revoked." if authorization else "No API key was sent."
            raise Unauthorized(text, "Send the token of your context file as 'Authorization: Bearer ID.SECRET'.")
        return caller

    def _to_engine(
        self, request: Request, errand: Errand, caller: Caller, client: Client, trace: TraceContext
    ) -> Passage:
        route = self._routes.resolve(errand.model, errand.task)
        headers = [*_forwarded(request, _KEPT_FROM_ENGINES), *_route_headers(route), *_trace_headers(request, trace)]
        path = request.path.decode("latin-1")
        return Passage(
            client,
            self._relay.pool(route.node),
            request.method,
            request_bytes(request.method, errand.target, headers, errand.body),
            self._settings,
            measure=Measure(route, caller.id, path, streamed=errand.streamed, trace_id=trace.trace_id),
            record=self._meter.record,
        )

    def _to_application(self, request: Request, client: Client, trace: TraceContext) -> Passage:
        headers = [*_forwarded(request, frozenset((b"traceparent", b"x-request-id"))), *_trace_headers(request, trace)]
        message = request_bytes(request.method, request.origin_target, headers, request.body)
        return Passage(client, self._application, request.method, message, self._settings)


def trace_of(request: Request) -> TraceContext:
    traceparent = request.header(b"traceparent")
    return continued(traceparent.decode("latin-1")) if traceparent else new()


def _only(request: Request, method: bytes) -> None:
    if request.method != method:
        allow = method.decode()
        raise MethodNotAllowed(f"{request.method.decode()} is not possible here.", f"Use {allow}.", allow=allow)


def _forwarded(request: Request, kept: frozenset[bytes]) -> list[Header]:
    return [(key, value) for key, value in request.end_to_end_headers() if key not in kept]


def _route_headers(route: Route) -> list[Header]:
    return [
        (b"host", b"engine"),
        (b"x-arw-instance", route.instance.encode()),
        (b"x-arw-claim", route.claim.encode()),
        (b"x-arw-fence", b"%d" % route.fence),
    ]


def _trace_headers(request: Request, trace: TraceContext) -> list[Header]:
    asked = request.header(b"x-request-id")
    return [
        (b"traceparent", trace.header.encode()),
        (b"x-request-id", asked if asked and len(asked) <= 128 else trace.trace_id.encode()),  # noqa: PLR2004 - a sane id
    ]
