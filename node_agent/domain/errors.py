"""Every refusal of the node agent.

Refusal
├── Resource: SpecInvalid, AdapterUnknown, ModelFileMissing, ModelFileInvalid, ModelDigestMismatch, EngineNotFound,
│   EngineNotTrusted, EngineFlagUnknown, AcceleratorMissing, AcceleratorLeaking, AcceleratorLost,
│   AcceleratorUnhealthy, ExecutionModeUnavailable, LocalPolicyDenied
├── Launch: SpawnFailed, PortUnavailable, EngineIdentityMismatch
├── Sync: StaleRevision, HistoryChanged, ProtocolViolation, RemovalGuard
└── Local: StorageUnavailable, JoinFailed, AlreadyRunning, DirectoryCopied, NotJoined, ServiceFileForeign,
    ServiceUnsupported
"""

from __future__ import annotations

from wire.refusal import Refusal


class SpecInvalid(Refusal):
    reason = "SPEC_INVALID"


class AdapterUnknown(Refusal):
    reason = "ADAPTER_UNKNOWN"


class ModelFileMissing(Refusal):
    reason = "MODEL_FILE_MISSING"


class ModelFileInvalid(Refusal):
    reason = "MODEL_FILE_INVALID"


class ModelDigestMismatch(Refusal):
    reason = "MODEL_DIGEST_MISMATCH"


class EngineNotFound(Refusal):
    reason = "ENGINE_NOT_FOUND"


class EngineNotTrusted(Refusal):
    reason = "ENGINE_NOT_TRUSTED"


class EngineFlagUnknown(Refusal):
    reason = "ENGINE_FLAG_UNKNOWN"


class AcceleratorMissing(Refusal):
    reason = "ACCELERATOR_MISSING"


class AcceleratorLeaking(Refusal):
    reason = "ACCELERATOR_LEAKING"


class AcceleratorLost(Refusal):
    reason = "ACCELERATOR_LOST"


class AcceleratorUnhealthy(Refusal):
    reason = "ACCELERATOR_UNHEALTHY"


class ExecutionModeUnavailable(Refusal):
    reason = "EXECUTION_MODE_UNAVAILABLE"


class LocalPolicyDenied(Refusal):
    reason = "LOCAL_POLICY_DENIED"


class SpawnFailed(Refusal):
    reason = "SPAWN_FAILED"


class PortUnavailable(Refusal):
    reason = "PORT_UNAVAILABLE"


class EngineIdentityMismatch(Refusal):
    reason = "ENGINE_IDENTITY_MISMATCH"


class StaleRevision(Refusal):
    reason = "STALE_REVISION"


class HistoryChanged(Refusal):
    reason = "HISTORY_CHANGED"


class ProtocolViolation(Refusal):
    reason = "PROTOCOL_VIOLATION"


class RemovalGuard(Refusal):
    reason = "REMOVAL_GUARD"


class StorageUnavailable(Refusal):
    reason = "STORAGE_UNAVAILABLE"


class JoinFailed(Refusal):
    reason = "TOKEN_INVALID"


class AlreadyRunning(Refusal):
    reason = "IN_USE"


class DirectoryCopied(Refusal):
    reason = "NODE_MISMATCH"


class NotJoined(Refusal):
    reason = "UNAUTHENTICATED"


class ServiceFileForeign(Refusal):
    reason = "ALREADY_EXISTS"


class ServiceUnsupported(Refusal):
    reason = "INVALID_ARGUMENT"
