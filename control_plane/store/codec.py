"""Domain values as JSON text. A document from a newer schema is read as far as it is understood; no row is lost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Generic, TypeVar, cast

import msgspec
import structlog
from msgspec import inspect

from control_plane.domain.accelerator import AcceleratorKind, DeviceHealth
from control_plane.domain.authority import Authority, AuthorityState
from control_plane.domain.claims.claim import Claim, ClaimState, Lease
from control_plane.domain.desired import Placed
from control_plane.domain.execution import ExecutionMode
from control_plane.domain.instance import InstanceState, Severity
from control_plane.domain.jobs.job import Job, JobKind, JobStage, JobState
from control_plane.domain.join_token import JoinToken
from control_plane.domain.model import Model
from control_plane.domain.node import Node, Standing
from control_plane.domain.operator import Operator
from control_plane.domain.project import KeyUse, Project, ProjectKey
from control_plane.domain.residence import SleepCause
from control_plane.domain.runtime import DesiredState, MissingAccelerator, Modality, PlacementStrategy, Runtime

T = TypeVar("T")

_log = structlog.get_logger()
_encoder = msgspec.json.Encoder()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# What an unknown value means here: the choice that lets in and starts nothing. In a list it is left out beside others.
_CAUTIOUS: Mapping[type[Enum], Enum] = {
    AcceleratorKind: AcceleratorKind.OTHER,
    AuthorityState: AuthorityState.REVOKED,
    ClaimState: ClaimState.REVOKED,
    DesiredState: DesiredState.STOPPED,
    DeviceHealth: DeviceHealth.UNUSABLE,
    ExecutionMode: ExecutionMode.UNSPECIFIED,
    InstanceState: InstanceState.UNKNOWN,
    JobKind: JobKind.HEALTH_PROBE,
    JobStage: JobStage.FORWARD,
    JobState: JobState.ABORTED,
    MissingAccelerator: MissingAccelerator.FAIL,
    Modality: Modality.TEXT,
    PlacementStrategy: PlacementStrategy.SPREAD,
    Severity: Severity.WARN,
    SleepCause: SleepCause.OPERATOR,
    Standing: Standing.QUARANTINED,
}


class Codec(Generic[T]):
    """One dataclass to JSON text and back."""

    def __init__(self, type_: type[T]) -> None:
        self._type = type_
        self._decoder = msgspec.json.Decoder(type_)

    def encode(self, value: T) -> str:
        return _encoder.encode(value).decode()

    def decode(self, document: str) -> T:
        try:
            return self._decoder.decode(document)
        except msgspec.ValidationError as error:
            _log.warning("newer_document_read", type=self._type.__name__, cause=str(error))
            return msgspec.convert(_mended(msgspec.json.decode(document), inspect.type_info(self._type)), self._type)


def _mended(value: object, shape: inspect.Type) -> object:
    """`value` with every enum value that this version does not know replaced."""
    match shape:
        case inspect.EnumType():
            return value if _is_known(value, shape) else _CAUTIOUS[shape.cls].value
        case inspect.DataclassType() if isinstance(value, dict):
            fields = {field.encode_name: field.type for field in shape.fields}
            return {key: _mended(item, fields[key]) for key, item in value.items() if key in fields}
        case inspect.VarTupleType() if isinstance(value, list):
            known = [item for item in value if _is_known(item, shape.item_type)]
            return [_mended(item, shape.item_type) for item in known or value]
        case inspect.UnionType() if value is not None:
            return _mended(value, next(kind for kind in shape.types if not isinstance(kind, inspect.NoneType)))
        case _:
            return value


def _is_known(value: object, shape: inspect.Type) -> bool:
    return not isinstance(shape, inspect.EnumType) or any(value == member.value for member in shape.cls)


def to_micros(time: datetime) -> int:
    """Microseconds since 1970 UTC; `time` is aware."""
    return (time - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND


def encode_payload(payload: Mapping[str, Any]) -> str:
    return _encoder.encode(payload).decode()


def decode_payload(document: str) -> dict[str, Any]:
    return cast("dict[str, Any]", msgspec.json.decode(document))


NODE = Codec(Node)
RUNTIME = Codec(Runtime)
MODEL = Codec(Model)
JOIN_TOKEN = Codec(JoinToken)
OPERATOR = Codec(Operator)
JOB = Codec(Job)
AUTHORITY = Codec(Authority)
PROJECT = Codec(Project)
PROJECT_KEY = Codec(ProjectKey)
KEY_USE = Codec(KeyUse)
CLAIM = Codec(Claim)
CLAIM_LEASE = Codec(Lease)
PLACED = Codec(Placed)
