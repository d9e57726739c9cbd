# ruff: noqa: N802 - the contract names methods
from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from arw.v1 import inference_service_pb2 as pb
from arw.v1.inference_service_pb2_grpc import InferenceServiceServicer
from control_plane.api.authorization import caller
from control_plane.domain.errors import InvalidArgument
from gateway.guest import Guest
from gateway.ports import Caller
from wire.http_head import Request
from wire.trace import HEADER, TraceContext, continued

_PATH = re.compile(r"/[!-~]{0,1023}")
_CONTENT_TYPE = re.compile(r"[!-~][ -~]{0,255}")
_JSON = "application/json"
_CLAIMS = "claims/"

Ask = Callable[[Request, Caller, TraceContext], Guest]


class InferenceServicer(InferenceServiceServicer):
    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def Infer(self, request: pb.InferRequest, context: Any) -> AsyncIterator[pb.InferResponse]:
        who = Caller(caller.get().presented.node, claim=request.claim.removeprefix(_CLAIMS))
        said = dict(context.invocation_metadata() or ())
        guest = self._ask(_request(request), who, continued(said.get(HEADER)))
        context.add_done_callback(lambda _: guest.leave())
        try:
            await guest.head()
            yield pb.InferResponse(head=pb.InferHead(status=guest.status, content_type=guest.content_type))
            async for piece in guest.pieces():
                yield pb.InferResponse(chunk=piece)
        finally:
            guest.leave()


def _request(asked: pb.InferRequest) -> Request:
    """As it would have come over HTTP. InvalidArgument: it could not have."""
    content_type = asked.content_type or _JSON
    if not _PATH.fullmatch(asked.path) or not _CONTENT_TYPE.fullmatch(content_type):
        raise InvalidArgument("The path or the content type is none of HTTP.", "Send them as HTTP has them.")
    request = Request(len(asked.body))
    request.method, request.target, request.body = b"POST", asked.path.encode(), asked.body
    request.headers = [(b"content-type", content_type.encode())]
    return request
