"""google.rpc error details in gRPC trailers, read only when a call failed."""

from __future__ import annotations

from dataclasses import dataclass, field

from grpclib.const import Status
from grpclib.encoding.base import StatusDetailsCodecBase


@dataclass(frozen=True, slots=True)
class Details:
    reason: str = ""
    remedy: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


class DetailsCodec(StatusDetailsCodecBase):
    """Reads ErrorInfo and LocalizedMessage; whatever else a newer control plane sends is passed over."""

    def encode(self, status: Status, message: str | None, details: object) -> bytes:
        raise NotImplementedError("a client sends no error details")

    def decode(self, status: Status, message: str | None, data: bytes) -> Details:  # noqa: ARG002 - grpclib's shape
        from google.rpc import error_details_pb2, status_pb2  # noqa: PLC0415 - only a failed call needs protobuf

        info, remedy = error_details_pb2.ErrorInfo(), error_details_pb2.LocalizedMessage()
        for packed in status_pb2.Status.FromString(data).details:
            packed.Unpack(info)
            packed.Unpack(remedy)
        return Details(info.reason, remedy.message, dict(info.metadata))
