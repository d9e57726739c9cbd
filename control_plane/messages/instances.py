from __future__ import annotations

import math
from datetime import datetime, timedelta

from arw.v1 import instance_pb2 as pb
from control_plane.domain.errors import InvalidId
from control_plane.domain.footprint import Footprint, FootprintKey
from control_plane.domain.ids import NodeId, RuntimeId, instance_name, parsed
from control_plane.domain.instance import (
    ExitRecord,
    Instance,
    InstanceHealth,
    InstanceState,
    ProcessIdentity,
    RestartBudget,
    Severity,
)
from control_plane.messages.accelerators import kind_from_proto, kind_to_proto
from control_plane.messages.execution import mode_from_proto, mode_to_proto
from control_plane.messages.problems import problem_from_proto, problem_to_proto
from control_plane.messages.sandbox import layers_from_proto, layers_to_proto
from control_plane.messages.texts import clipped, clipped_lines
from control_plane.messages.times import duration_from_proto, duration_to_proto, time_from_proto, time_to_proto

_STATE, _SEVERITY = "INSTANCE_STATE_", "SEVERITY_"
_NAME_PARTS = 4
_NOW = timedelta()
_YEAR = timedelta(days=365)


def instance_ids(name: str) -> tuple[NodeId, RuntimeId]:
    """Node and runtime of "nodes/{node}/instances/{runtime}"; InvalidId otherwise."""
    parts = name.split("/")
    if len(parts) != _NAME_PARTS or parts[0] != "nodes" or parts[2] != "instances":
        raise InvalidId(
            f"{name[:160]!r} is no instance name.",
            "Instances are named nodes/{node}/instances/{runtime}.",
            id=name[:160],
        )
    return NodeId(parsed(parts[1], "nodes", "node")), RuntimeId(parsed(parts[3], "instances", "runtime"))


def severity_to_proto(severity: Severity) -> pb.Severity.ValueType:
    return pb.Severity.Value(_SEVERITY + severity.name)


def instance_to_proto(instance: Instance | None, now: datetime) -> pb.Instance | None:
    """`now` turns the budget's reset time into what is left until then."""
    if instance is None:
        return None
    return pb.Instance(
        name=instance_name(instance.node, instance.runtime),
        state=pb.InstanceState.Value(_STATE + instance.state.name),
        state_slug=instance.state.value,
        state_label=instance.state.label,
        severity=severity_to_proto(instance.severity),
        severity_label=instance.severity.label,
        summary=instance.summary,
        detail=instance.detail,
        observed_generation=instance.observed_generation,
        incarnation=instance.incarnation,
        process=_process_to_proto(instance.process),
        restart_budget=_budget_to_proto(instance.restart_budget, now),
        last_exit=_exit_to_proto(instance.last_exit),
        health=_health_to_proto(instance.health),
        accelerator=kind_to_proto(instance.accelerator),
        accelerator_label=instance.accelerator_label,
        problem=problem_to_proto(instance.problem),
        update_time=time_to_proto(instance.update_time),
        ready_time=time_to_proto(instance.ready_time),
        engine=instance.engine,
        sandbox=layers_to_proto(instance.sandbox),
        footprint=_footprint_to_proto(instance.footprint),
        prompt_cache_warm=instance.prompt_cache_warm,
        execution_mode=mode_to_proto(instance.execution_mode),
        execution_reason=instance.execution_reason,
        answered_probes=instance.answered_probes,
        idle_for=duration_to_proto(None if instance.idle_since is None else max(now - instance.idle_since, _NOW)),
    )


def instance_from_proto(message: pb.Instance, now: datetime) -> Instance:
    """What a node reports, with its words clipped. InvalidId, InvalidArgument."""
    node, runtime = instance_ids(message.name)
    return Instance(
        node=node,
        runtime=runtime,
        state=_state_from_proto(message.state),
        severity=_severity_from_proto(message.severity),
        summary=clipped(message.summary),
        detail=clipped_lines(message.detail),
        observed_generation=message.observed_generation,
        incarnation=message.incarnation,
        process=_process_from_proto(message.process) if message.HasField("process") else None,
        restart_budget=_budget_from_proto(message.restart_budget, now) if message.HasField("restart_budget") else None,
        last_exit=_exit_from_proto(message.last_exit) if message.HasField("last_exit") else None,
        health=_health_from_proto(message.health) if message.HasField("health") else None,
        accelerator=kind_from_proto(message.accelerator),
        accelerator_label=clipped(message.accelerator_label),
        problem=problem_from_proto(message.problem) if message.HasField("problem") else None,
        update_time=time_from_proto(message.update_time) if message.HasField("update_time") else now,
        ready_time=time_from_proto(message.ready_time) if message.HasField("ready_time") else None,
        engine=clipped(message.engine),
        sandbox=layers_from_proto(message.sandbox),
        footprint=_footprint_from_proto(message.footprint) if message.HasField("footprint") else None,
        prompt_cache_warm=message.prompt_cache_warm if message.HasField("prompt_cache_warm") else None,
        execution_mode=mode_from_proto(message.execution_mode),
        execution_reason=clipped(message.execution_reason),
        answered_probes=clipped_lines(message.answered_probes),
        idle_since=now - _idle(duration_from_proto(message.idle_for)) if message.HasField("idle_for") else None,
    )


def _footprint_to_proto(footprint: Footprint | None) -> pb.Footprint | None:
    if footprint is None:
        return None
    return pb.Footprint(
        model_sha256=footprint.key.model_sha256,
        engine_sha256=footprint.key.engine_sha256,
        options_digest=footprint.key.options,
        accelerator=kind_to_proto(footprint.key.accelerator),
        memory_bytes=footprint.memory_bytes,
        device_memory_bytes=footprint.device_memory_bytes,
        load_time=duration_to_proto(footprint.load_time),
        launches=footprint.launches,
        generated_tokens_per_second=footprint.generated_tokens_per_second,
        prompt_tokens_per_second=footprint.prompt_tokens_per_second,
    )


def _footprint_from_proto(message: pb.Footprint) -> Footprint:
    key = FootprintKey(
        clipped(message.model_sha256),
        clipped(message.engine_sha256),
        clipped(message.options_digest),
        kind_from_proto(message.accelerator),
    )
    return Footprint(
        key,
        message.memory_bytes,
        duration_from_proto(message.load_time) if message.HasField("load_time") else None,
        message.device_memory_bytes if message.HasField("device_memory_bytes") else None,
        message.launches,
        _speed(message.generated_tokens_per_second) if message.HasField("generated_tokens_per_second") else None,
        _speed(message.prompt_tokens_per_second) if message.HasField("prompt_tokens_per_second") else None,
    )


def _idle(told: timedelta) -> timedelta:
    """Bounded, whatever a node says."""
    return min(max(told, _NOW), _YEAR)


def _speed(told: float) -> float | None:
    """Unknown, never 0: a node that tells nonsense has not told."""
    return told if math.isfinite(told) and told > 0 else None


def _state_from_proto(value: pb.InstanceState.ValueType) -> InstanceState:
    if value not in pb.InstanceState.values() or value == pb.INSTANCE_STATE_UNSPECIFIED:
        return InstanceState.UNKNOWN
    return InstanceState[pb.InstanceState.Name(value).removeprefix(_STATE)]


def _severity_from_proto(value: pb.Severity.ValueType) -> Severity:
    if value not in pb.Severity.values() or value == pb.SEVERITY_UNSPECIFIED:
        return Severity.INFO
    return Severity[pb.Severity.Name(value).removeprefix(_SEVERITY)]


def _process_to_proto(process: ProcessIdentity | None) -> pb.ProcessIdentity | None:
    if process is None:
        return None
    return pb.ProcessIdentity(
        boot_id=process.boot_id,
        engine_pid=process.engine_pid,
        engine_start_ticks=process.engine_start_ticks,
        shim_pid=process.shim_pid,
    )


def _process_from_proto(message: pb.ProcessIdentity) -> ProcessIdentity:
    return ProcessIdentity(clipped(message.boot_id), message.engine_pid, message.engine_start_ticks, message.shim_pid)


def _budget_to_proto(budget: RestartBudget | None, now: datetime) -> pb.RestartBudget | None:
    if budget is None:
        return None
    left = None if budget.reset_at is None else max(budget.reset_at - now, timedelta())
    return pb.RestartBudget(
        max_restarts=budget.max_restarts,
        window=duration_to_proto(budget.window),
        used=budget.used,
        remaining=budget.remaining,
        reset_in=duration_to_proto(left),
    )


def _budget_from_proto(message: pb.RestartBudget, now: datetime) -> RestartBudget:
    left = duration_from_proto(message.reset_in) if message.HasField("reset_in") else None
    return RestartBudget(
        max_restarts=message.max_restarts,
        window=duration_from_proto(message.window),
        used=message.used,
        remaining=message.remaining,
        reset_at=None if left is None else now + left,
    )


def _exit_to_proto(record: ExitRecord | None) -> pb.ExitRecord | None:
    if record is None:
        return None
    return pb.ExitRecord(
        exit_code=record.exit_code,
        signal=record.signal,
        oom_killed=record.oom_killed,
        exit_time=time_to_proto(record.exit_time),
        log_tail=record.log_tail,
    )


def _exit_from_proto(message: pb.ExitRecord) -> ExitRecord:
    return ExitRecord(
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        signal=message.signal if message.HasField("signal") else None,
        oom_killed=message.oom_killed,
        exit_time=time_from_proto(message.exit_time) if message.HasField("exit_time") else None,
        log_tail=clipped_lines(message.log_tail),
    )


def _health_to_proto(health: InstanceHealth | None) -> pb.InstanceHealth | None:
    if health is None:
        return None
    return pb.InstanceHealth(
        probe_latency=duration_to_proto(health.probe_latency),
        consecutive_misses=health.consecutive_misses,
        inflight_requests=health.inflight_requests,
        slots=health.slots,
    )


def _health_from_proto(message: pb.InstanceHealth) -> InstanceHealth:
    return InstanceHealth(
        probe_latency=duration_from_proto(message.probe_latency) if message.HasField("probe_latency") else None,
        consecutive_misses=message.consecutive_misses,
        inflight_requests=message.inflight_requests if message.HasField("inflight_requests") else None,
        slots=message.slots if message.HasField("slots") else None,
    )
