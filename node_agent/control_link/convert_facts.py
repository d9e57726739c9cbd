"""What the node says of itself, as protobuf: the other half of `convert`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from arw.v1 import accelerator_pb2, instance_pb2, node_pb2, problem_pb2
from node_agent.domain.inventory import Accelerator, Inventory
from node_agent.domain.status import BudgetView, ExitRecord, Health, InstanceStatus, Problem, ProcessIdentity


def inventory_to_proto(inventory: Inventory) -> node_pb2.NodeInventory:
    engines = [
        node_pb2.Engine(adapter=engine.adapter, path=path, sha256=sha256, version=engine.version)
        for engine in inventory.engines
        for path, sha256 in engine.digests[:1]
    ]
    return node_pb2.NodeInventory(
        os=inventory.os,
        arch=inventory.arch,
        os_release=inventory.os_release,
        cpu_cores=inventory.cpu_cores,
        memory_bytes=inventory.memory_bytes,
        accelerators=[_accelerator_to_proto(accelerator) for accelerator in inventory.accelerators],
        engines=engines,
    )


def _accelerator_to_proto(accelerator: Accelerator) -> accelerator_pb2.Accelerator:
    return accelerator_pb2.Accelerator(
        id=accelerator.id,
        kind=_accelerator_kind(accelerator.kind),
        display_name=accelerator.display_name,
        memory_bytes=accelerator.memory_bytes,
        driver_version=accelerator.driver_version,
        simulated=accelerator.simulated,
    )


def _accelerator_kind(slug: str) -> accelerator_pb2.AcceleratorKind.ValueType:
    name = f"ACCELERATOR_KIND_{slug.upper() or 'UNSPECIFIED'}"
    return accelerator_pb2.AcceleratorKind.Value(name)


def problem_to_proto(problem: Problem) -> problem_pb2.Problem:
    known = f"REASON_{problem.reason}" in problem_pb2.Reason.keys()  # noqa: SIM118 - an enum wrapper has no __contains__
    reason = problem_pb2.Reason.Value(f"REASON_{problem.reason if known else 'INTERNAL'}")
    return problem_pb2.Problem(reason=reason, text=problem.text, remedy=problem.remedy, metadata=problem.metadata)


def status_to_proto(status: InstanceStatus) -> instance_pb2.Instance:
    """What the node knows of an instance; labels and severity are the control plane's words."""
    return instance_pb2.Instance(
        name=status.name,
        state=instance_pb2.InstanceState.Value(f"INSTANCE_STATE_{status.state.name}"),
        summary=status.summary,
        detail=status.detail,
        observed_generation=status.observed_generation,
        incarnation=status.incarnation,
        process=_process_to_proto(status.process) if status.process else None,
        restart_budget=_budget_to_proto(status.budget) if status.budget else None,
        last_exit=_exit_to_proto(status.last_exit) if status.last_exit else None,
        health=_health_to_proto(status.health) if status.health else None,
        accelerator=_accelerator_kind(status.accelerator),
        accelerator_label=status.accelerator_label,
        problem=problem_to_proto(status.problem) if status.problem else None,
        ready_time=_timestamp(status.ready_time),
        engine=status.engine,
    )


def _process_to_proto(process: ProcessIdentity) -> instance_pb2.ProcessIdentity:
    return instance_pb2.ProcessIdentity(
        boot_id=process.boot_id,
        engine_pid=process.engine_pid,
        engine_start_ticks=process.engine_start_ticks,
        shim_pid=process.shim_pid,
    )


def _budget_to_proto(budget: BudgetView) -> instance_pb2.RestartBudget:
    return instance_pb2.RestartBudget(
        max_restarts=budget.max_restarts,
        window=_to_duration(budget.window),
        used=budget.used,
        remaining=budget.remaining,
        reset_in=_to_duration(budget.reset_in),
    )


def _exit_to_proto(record: ExitRecord) -> instance_pb2.ExitRecord:
    return instance_pb2.ExitRecord(
        exit_code=record.exit_code,
        signal=record.signal,
        oom_killed=record.oom_killed,
        exit_time=_timestamp(record.exit_time),
        log_tail=record.log_tail,
    )


def _health_to_proto(health: Health) -> instance_pb2.InstanceHealth:
    return instance_pb2.InstanceHealth(
        probe_latency=_to_duration(health.probe_latency),
        consecutive_misses=health.consecutive_misses,
        inflight_requests=health.inflight_requests,
        slots=health.slots,
    )


def _to_duration(delta: timedelta | None) -> Duration | None:
    if delta is None:
        return None
    duration = Duration()
    duration.FromTimedelta(delta)
    return duration


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment.astimezone(UTC))
    return stamp
