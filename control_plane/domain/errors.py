"""Every refusal of the control plane.

Refusal
├── BadRequest: InvalidArgument, InvalidId, ManifestInvalid, PageTokenInvalid, RequestIdReused
├── NotFound, AlreadyExists, InUse, EtagMismatch, NothingHeld
├── Caller: Unauthenticated, PermissionDenied, CertificateExpired, CertificateRevoked, CertificateNotActive,
│   CertificateUnknown, TokenInvalid, TokenUsed, TokenExpired, ProjectDisabled, RateLimited
├── Session: SessionSuperseded, NodeMismatch, NodeQuarantined, ProtocolUnsupported, ProtocolViolation, Draining
└── State: RestartBudgetExhausted, NodeOffline, NotReady, ShutDown, StorageUnavailable, Unavailable
"""

from __future__ import annotations

from wire.refusal import Refusal


class InvalidArgument(Refusal):
    reason = "INVALID_ARGUMENT"


class InvalidId(Refusal):
    reason = "INVALID_ID"


class ManifestInvalid(Refusal):
    reason = "MANIFEST_INVALID"


class PageTokenInvalid(Refusal):
    reason = "PAGE_TOKEN_INVALID"


class RequestIdReused(Refusal):
    reason = "REQUEST_ID_REUSED"


class NotFound(Refusal):
    reason = "NOT_FOUND"


class AlreadyExists(Refusal):
    reason = "ALREADY_EXISTS"


class InUse(Refusal):
    reason = "IN_USE"


class EtagMismatch(Refusal):
    reason = "ETAG_MISMATCH"


class NothingHeld(Refusal):
    reason = "NOTHING_HELD"


class Unauthenticated(Refusal):
    reason = "UNAUTHENTICATED"


class PermissionDenied(Refusal):
    reason = "PERMISSION_DENIED"


class CertificateExpired(Refusal):
    reason = "CERTIFICATE_EXPIRED"


class CertificateRevoked(Refusal):
    reason = "CERTIFICATE_REVOKED"


class CertificateNotActive(Refusal):
    reason = "CERTIFICATE_NOT_ACTIVE"


class CertificateUnknown(Refusal):
    reason = "CERTIFICATE_UNKNOWN"


class TokenInvalid(Refusal):
    reason = "TOKEN_INVALID"


class TokenUsed(Refusal):
    reason = "TOKEN_USED"


class TokenExpired(Refusal):
    reason = "TOKEN_EXPIRED"


class ProjectDisabled(Refusal):
    reason = "PROJECT_DISABLED"


class RateLimited(Refusal):
    reason = "RATE_LIMITED"


class SessionSuperseded(Refusal):
    reason = "SESSION_SUPERSEDED"


class NodeMismatch(Refusal):
    reason = "NODE_MISMATCH"


class NodeQuarantined(Refusal):
    reason = "NODE_QUARANTINED"


class ProtocolUnsupported(Refusal):
    reason = "PROTOCOL_UNSUPPORTED"


class ProtocolViolation(Refusal):
    reason = "PROTOCOL_VIOLATION"


class Draining(Refusal):
    reason = "DRAINING"


class RestartBudgetExhausted(Refusal):
    reason = "RESTART_BUDGET_EXHAUSTED"


class NodeOffline(Refusal):
    reason = "NODE_OFFLINE"


class NotReady(Refusal):
    reason = "NOT_READY"


class ShutDown(Refusal):
    reason = "SHUT_DOWN"


class StorageUnavailable(Refusal):
    reason = "STORAGE_UNAVAILABLE"


class Unavailable(Refusal):
    reason = "UNAVAILABLE"


class NotLeading(Exception):  # noqa: N818 - no fault: another replica does it
    """Another replica runs the loops of which there may be only one. No call is answered so."""
