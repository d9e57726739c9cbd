"""The API documents, made once when somebody asks."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

import msgspec

from control_plane.http.asyncapi import asyncapi
from control_plane.http.documents import DOCUMENTS
from control_plane.http.openapi import openapi
from control_plane.http.versions import Version

_SUPERVISED = ("runtimes", "runtime_supervisor", "runtime_manifests", "runtime_watchers", "orchestrator_jobs")


@cache
def published() -> dict[str, dict[str, Any]]:
    """By name."""
    supervised = [document for document in DOCUMENTS if document.id in _SUPERVISED]
    return {
        "openapi": openapi("ARW control plane", DOCUMENTS),
        "asyncapi": asyncapi(),
        "runtime_supervisor": openapi("ARW runtime supervisor", supervised, whole=False),
    }


@cache
def served(path: str) -> Version:
    body = msgspec.json.encode(published()[path.strip("/").removesuffix(".json")])
    return Version(body, sha256(body).hexdigest()[:16], datetime.fromtimestamp(0, UTC))
