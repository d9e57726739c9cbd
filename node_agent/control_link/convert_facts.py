"""What the node says of itself, as protobuf: the other half of `convert`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from arw.v1 import accelerator_pb2, execution_pb2, instance_pb2, node_pb2, problem_pb2
from node_agent.domain.footprint import Footprint
from node_agent.domain.inventory import (
    Accelerator,
    AcceleratorUsage,
    Engine,
    EngineDevice,
    ExecutionOffer,
    Inventory,
    LocalLimits,
    NodeUsage,
)
from node_agent.domain.sandbox import SandboxLayer
from node_agent.domain.spec import ExecutionMode
from node_agent.domain.status import BudgetView, ExitRecord, Health, InstanceStatus, Problem, ProcessIdentity


def inventory_to_proto(inventory: Inventory) -> node_pb2.NodeInventory:
    return node_pb2.NodeInventory(
        os=inventory.os,
        arch=inventory.arch,
        os_release=inventory.os_release,
        cpu_cores=inventory.cpu_cores,
        memory_bytes=inventory.memory_bytes,
        accelerators=[_accelerator_to_proto(accelerator) for accelerator in inventory.accelerators],
        engines=[_engine_to_proto(engine) for engine in inventory.engines if engine.digests],
        limits=_limits_to_proto(inventory.limits),
        sandbox=[_layer_to_proto(layer) for layer in inventory.sandbox],
        execution=[_offer_to_proto(offer) for offer in inventory.execution],
    )


def _engine_to_proto(engine: Engine) -> node_pb2.Engine:
    main, sha256 = engine.digests[0]
    path = engine.command[0] if engine.image and engine.command else main
    return node_pb2.Engine(
        adapter=engine.adapter,
        path=path,
        sha256=sha256,
        version=engine.version,
        image=engine.image,
        devices=_sight_to_proto(engine.devices) if engine.devices is not None else None,
    )


def _sight_to_proto(devices: Sequence[EngineDevice]) -> node_pb2.EngineDevices:
    return node_pb2.EngineDevices(
        devices=[
            node_pb2.EngineDevice(name=device.name, kind=_accelerator_kind(device.kind), description=device.description)
            for device in devices
        ]
    )


def _offer_to_proto(offer: ExecutionOffer) -> execution_pb2.ExecutionOffer:
    return execution_pb2.ExecutionOffer(mode=_mode_to_proto(offer.mode), available=offer.available, detail=offer.detail)


def _mode_to_proto(mode: ExecutionMode | None) -> execution_pb2.ExecutionMode.ValueType:
    return execution_pb2.ExecutionMode.Value(f"EXECUTION_MODE_{mode.name if mode else 'UNSPECIFIED'}")


def _layer_to_proto(layer: SandboxLayer) -> instance_pb2.SandboxLayer:
    return instance_pb2.SandboxLayer(name=layer.name, in_force=layer.in_force, reason=layer.reason)


def _limits_to_proto(limits: LocalLimits) -> node_pb2.LocalLimits:
    return node_pb2.LocalLimits(
        file=limits.file,
        denied_adapters=limits.denied_adapters,
        modes=limits.modes,
        max_runtimes=limits.max_runtimes,
        memory_bytes=limits.memory_bytes,
        memory_per_runtime_bytes=limits.memory_per_runtime_bytes,
        closed=problem_to_proto(limits.closed) if limits.closed else None,
    )


def _accelerator_to_proto(accelerator: Accelerator) -> accelerator_pb2.Accelerator:
    return accelerator_pb2.Accelerator(
        id=accelerator.id,
        kind=_accelerator_kind(accelerator.kind),
        display_name=accelerator.display_name,
        memory_bytes=accelerator.memory_bytes,
        driver_version=accelerator.driver_version,
        simulated=accelerator.simulated,
        vendor=accelerator.vendor,
        pci_address=accelerator.pci_address,
        health=accelerator_pb2.AcceleratorHealth.Value(f"ACCELERATOR_HEALTH_{_health_name(accelerator)}"),
        problem=problem_to_proto(accelerator.problem) if accelerator.problem else None,
        unified_memory=accelerator.unified_memory,
        partition_of=accelerator.partition_of,
        source=accelerator.source,
        details=accelerator.details,
    )


def _health_name(accelerator: Accelerator) -> str:
    return accelerator.health.upper() or "UNSPECIFIED"


def usage_to_proto(usage: NodeUsage) -> accelerator_pb2.NodeUsage:
    return accelerator_pb2.NodeUsage(
        accelerators=[_accelerator_usage_to_proto(each) for each in usage.accelerators],
        battery_percent=usage.battery_percent,
        on_battery=usage.on_battery,
    )


def _accelerator_usage_to_proto(usage: AcceleratorUsage) -> accelerator_pb2.AcceleratorUsage:
    processes = (
        accelerator_pb2.AcceleratorProcess(pid=process.pid, memory_bytes=process.memory_bytes)
        for process in usage.processes
    )
    return accelerator_pb2.AcceleratorUsage(
        id=usage.id,
        memory_total_bytes=usage.memory_total_bytes,
        memory_used_bytes=usage.memory_used_bytes,
        utilization_percent=usage.utilization_percent,
        temperature_celsius=usage.temperature_celsius,
        power_milliwatts=usage.power_milliwatts,
        power_limit_milliwatts=usage.power_limit_milliwatts,
        throttle_reasons=usage.throttle_reasons,
        processes=processes,
        last_xid=usage.last_xid,
        figures=usage.figures,
    )


def _accelerator_kind(slug: str) -> accelerator_pb2.AcceleratorKind.ValueType:
    name = f"ACCELERATOR_KIND_{slug.upper() or 'UNSPECIFIED'}"
    return accelerator_pb2.AcceleratorKind.Value(name)


def problem_to_proto(problem: Problem) -> problem_pb2.Problem:
    known = f"REASON_{problem.reason}" in problem_pb2.Reason.keys()  # noqa: SIM118 - an enum wrapper has no __contains__
    reason = problem_pb2.Reason.Value(f"REASON_{problem.reason if known else 'INTERNAL'}")
    return problem_pb2.Problem(reason=reason, text=problem.text, remedy=problem.remedy, metadata=problem.metadata)


def status_to_proto(status: InstanceStatus) -> instance_pb2.Instance:
    """What the node knows of an instance; labels are the control plane's words, and but for alarms severity too."""
    return instance_pb2.Instance(
        name=status.name,
        state=instance_pb2.InstanceState.Value(f"INSTANCE_STATE_{status.state.name}"),
        severity=instance_pb2.SEVERITY_ERROR if status.alarm else instance_pb2.SEVERITY_UNSPECIFIED,
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
        sandbox=[_layer_to_proto(layer) for layer in status.sandbox],
        footprint=_footprint_to_proto(status.footprint) if status.footprint else None,
        prompt_cache_warm=status.prompt_cache_warm,
        execution_mode=_mode_to_proto(status.execution_mode),
        execution_reason=status.execution_reason,
        answered_probes=status.answered_probes,
        idle_for=_to_duration(_idle_for(status.idle_since)),
    )


def _idle_for(since: datetime | None) -> timedelta | None:
    """A length, for clocks differ."""
    return None if since is None else max(datetime.now(UTC) - since, timedelta())


def _footprint_to_proto(footprint: Footprint) -> instance_pb2.Footprint:
    return instance_pb2.Footprint(
        model_sha256=footprint.key.model_sha256,
        engine_sha256=footprint.key.engine_sha256,
        options_digest=footprint.key.options,
        accelerator=_accelerator_kind(footprint.key.accelerator),
        memory_bytes=footprint.memory_bytes,
        device_memory_bytes=footprint.device_memory_bytes,
        load_time=_to_duration(footprint.load_time) if footprint.load_time else None,
        launches=footprint.launches,
        generated_tokens_per_second=footprint.speeds.generated,
        prompt_tokens_per_second=footprint.speeds.prompt,
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
