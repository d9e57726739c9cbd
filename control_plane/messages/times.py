from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from control_plane.domain.errors import InvalidArgument


def time_to_proto(time: datetime | None) -> Timestamp | None:
    """None stays absent."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def time_from_proto(message: Timestamp) -> datetime:
    """Aware UTC; InvalidArgument outside the years 1 to 9999."""
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument("A time lies outside the years 1 to 9999.", "Send a valid timestamp.") from None


def duration_to_proto(length: timedelta | None) -> Duration | None:
    if length is None:
        return None
    message = Duration()
    message.FromTimedelta(length)
    return message


def duration_from_proto(message: Duration) -> timedelta:
    """InvalidArgument when it is out of range."""
    try:
        return message.ToTimedelta()
    except (ValueError, OverflowError):
        raise InvalidArgument("A duration is out of range.", "Send a duration of at most some years.") from None
