"""What the agent answers when no engine does. The gateway hands these on as they are."""

from __future__ import annotations

import json
from enum import Enum

from wire.http_head import REFUSED_BY_NODE, response_bytes


class Refused(Enum):
    """Status, phrase, OpenAI type, code, and seconds until it is worth asking again."""

    STALE_FENCE = (403, "Forbidden", "permission_error", "stale_fence", None)
    NOT_SERVING = (503, "Service Unavailable", "unavailable_error", "not_ready", 1)
    STOPPING = (503, "Service Unavailable", "unavailable_error", "stopping", 2)
    ENGINE_BROKE = (502, "Bad Gateway", "server_error", "engine_broke", None)


_WORDS = {
    Refused.STALE_FENCE: ("The hold of this request is no longer valid on this node.", "Send the request again."),
    Refused.NOT_SERVING: ("The runtime does not serve on this node now.", "Try again in a moment."),
    Refused.STOPPING: ("The runtime is being stopped.", "Try again in a moment."),
    Refused.ENGINE_BROKE: ("The engine closed the connection before it answered.", "Look at the runtime's log."),
}
"""What happened, and what to do next."""


def answer(refused: Refused, request_id: bytes | None) -> bytes:
    status, phrase, kind, code, retry_after = refused.value
    text, remedy = _WORDS[refused]
    error = {"message": text, "type": kind, "code": code, "param": None, "remedy": remedy}
    headers = [("content-type", "application/json"), (REFUSED_BY_NODE, code)]
    if request_id:
        headers.append(("x-request-id", request_id.decode("latin-1")))
    if retry_after is not None:
        headers.append(("retry-after", str(retry_after)))
    return response_bytes(status, phrase, headers, json.dumps({"error": error}).encode())
