"""What is told of models without asking any engine, in the words of each dialect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.dialects.asking import given, read
from gateway.dialects.ollama_models import Show, own_version, plain, running, shown, tags
from gateway.ports import Routes, ServedModel
from gateway.refusals import ModelNotFound
from wire.http_head import Request

MODELS = b"/v1/models"
_ONE_MODEL = MODELS + b"/"

Listing = Callable[[Request], Any]


class Listings:
    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._known: dict[bytes, tuple[bytes, Listing]] = {
            MODELS: (b"GET", self._models),
            b"/api/tags": (b"GET", lambda _: tags(routes.models())),
            b"/api/ps": (b"GET", lambda _: running(routes.models())),
            b"/api/version": (b"GET", lambda _: {"version": own_version()}),
            b"/api/show": (b"POST", self._show),
        }

    @property
    def paths(self) -> Sequence[bytes]:
        return tuple(self._known)

    def find(self, path: bytes) -> tuple[bytes, Listing] | None:
        """Its method, and what makes the answer; None: the path is no listing."""
        return (b"GET", self._one) if path.startswith(_ONE_MODEL) else self._known.get(path)

    def _models(self, request: Request) -> dict[str, Any]:
        found = self._routes.models()
        if _is_anthropics(request):
            ends = {"first_id": found[0].id, "last_id": found[-1].id} if found else {"first_id": None, "last_id": None}
            return {"data": [_for_anthropic(model) for model in found], "has_more": False, **ends}
        return {"object": "list", "data": [_for_openai(model) for model in found]}

    def _one(self, request: Request) -> dict[str, Any]:
        model = self._named(request.path[len(_ONE_MODEL) :].decode("utf-8", "replace"))
        return _for_anthropic(model) if _is_anthropics(request) else _for_openai(model)

    def _show(self, request: Request) -> dict[str, Any]:
        asked = read(request.body, Show)
        return shown(self._named(plain(given(asked.model or asked.name))))

    def _named(self, name: str) -> ServedModel:
        for model in self._routes.models():
            if model.id == name:
                return model
        raise ModelNotFound(f"No model named {name[:200]!r} serves now.", "GET /v1/models lists what does.")


def _is_anthropics(request: Request) -> bool:
    """Both dialects have this path; only these clients say which version they know."""
    return request.header(b"anthropic-version") is not None


def _for_openai(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "arw",
        "model": model.model,
        "node": model.node,
    }


def _for_anthropic(model: ServedModel) -> dict[str, Any]:
    created = datetime.fromtimestamp(model.created, UTC).isoformat()
    return {"type": "model", "id": model.id, "display_name": model.id, "created_at": created}
