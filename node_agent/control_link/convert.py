"""The only place where the link's protobuf messages become values of this package, and back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from arw.v1 import accelerator_pb2, authority_pb2, execution_pb2, problem_pb2, runtime_pb2, session_pb2
from node_agent.control_link import messages as m
from node_agent.control_link.convert_facts import (
    inventory_to_proto,
    problem_to_proto,
    status_to_proto,
    usage_to_proto,
)
from node_agent.control_link.convert_replicas import (
    log_request_from_proto,
    park_from_proto,
    replicas_changed_from_proto,
    replicas_from_proto,
)
from node_agent.domain.spec import (
    DesiredState,
    EngineSettings,
    ExecutionMode,
    ExecutionSettings,
    ExternalSettings,
    HealthCheck,
    Hold,
    InstanceName,
    InstanceSpec,
    ModelFile,
    ProcessSettings,
    RestartPolicy,
    RestoreOrder,
)
from node_agent.domain.status import Problem
from node_agent.domain.trust import TrustBundle

_MODES = {
    execution_pb2.EXECUTION_MODE_NATIVE: ExecutionMode.NATIVE,
    execution_pb2.EXECUTION_MODE_CONTAINER: ExecutionMode.CONTAINER,
}


def agent_to_proto(envelope: m.AgentEnvelope) -> session_pb2.AgentMessage:
    message = session_pb2.AgentMessage(seq=envelope.seq, session_epoch=envelope.session_epoch)
    match envelope.body:
        case m.Hello() as body:
            message.hello.CopyFrom(hello_to_proto(body))
        case m.DesiredAck() as body:
            message.desired_ack.CopyFrom(_ack_to_proto(body))
        case m.ObservedReport() as body:
            message.observed_report.CopyFrom(_report_to_proto(body))
        case m.Heartbeat() as body:
            message.heartbeat.CopyFrom(_heartbeat_to_proto(body))
        case m.InventoryReport(inventory):
            message.inventory_report.inventory.CopyFrom(inventory_to_proto(inventory))
        case m.TrustReport(digest):
            message.trust_report.bundle_digest = digest
        case m.Goodbye() as body:
            kind = session_pb2.GoodbyeKind.Value(f"GOODBYE_KIND_{body.kind.name}")
            message.goodbye.CopyFrom(session_pb2.Goodbye(kind=kind))
    return message


def control_from_proto(message: session_pb2.ControlMessage) -> m.ControlEnvelope:
    return m.ControlEnvelope(message.seq, message.session_epoch, _control_body(message))


def _control_body(message: session_pb2.ControlMessage) -> m.ControlBody:  # noqa: C901, PLR0911 - one line a message
    match message.WhichOneof("body"):
        case "welcome":
            return welcome_from_proto(message.welcome)
        case "refusal":
            return _refused_from_proto(message.refusal)
        case "desired_batch":
            return batch_from_proto(message.desired_batch)
        case "heartbeat_ack":
            return _heartbeat_ack_from_proto(message.heartbeat_ack)
        case "report_full_state":
            return m.ReportFullState(message.report_full_state.reason)
        case "park_connections":
            return park_from_proto(message.park_connections)
        case "log_request":
            return log_request_from_proto(message.log_request)
        case "probe_instance":
            return m.ProbeInstance(message.probe_instance.request, InstanceName(message.probe_instance.instance))
        case "drain_notice":
            return m.DrainNotice(_duration(message.drain_notice.reconnect_within))
        case "replicas_changed":
            return replicas_changed_from_proto(message.replicas_changed)
        case "trust_bundle":
            return _trust_from_proto(message.trust_bundle)
        case _:
            return m.Unknown()


def _trust_from_proto(bundle: authority_pb2.TrustBundle) -> TrustBundle:
    tainted = tuple(key.hex() for key in bundle.tainted_key_ids)
    return TrustBundle(tuple(bundle.certificates), tainted, _duration(bundle.renew_within))


def hello_to_proto(hello: m.Hello) -> session_pb2.Hello:
    me = hello.me
    return session_pb2.Hello(
        node=f"nodes/{me.node}",
        process_id=me.process_id,
        installation_id=me.installation_id,
        boot_id=me.boot_id,
        machine_id_hash=me.machine_id_hash,
        agent_version=me.agent_version,
        agent_pid=me.agent_pid,
        protocol_min=m.PROTOCOL,
        protocol_max=m.PROTOCOL,
        capabilities=m.CAPABILITIES,
        history_id=hello.history_id,
        desired_revision=hello.desired_revision,
        desired_digest=hello.desired_digest,
        inventory=inventory_to_proto(hello.inventory),
    )


def welcome_from_proto(welcome: session_pb2.Welcome) -> m.Welcome:
    return m.Welcome(
        session_epoch=welcome.session_epoch,
        history_id=welcome.history_id,
        heartbeat_period=_duration(welcome.heartbeat_period),
        capabilities=tuple(welcome.capabilities),
        protocol=welcome.protocol,
        replicas=replicas_from_proto(welcome.replicas),
        parked_connections=welcome.parked_connections,
    )


def _accelerator_slug(kind: accelerator_pb2.AcceleratorKind.ValueType) -> str:
    if not kind:
        return ""
    if kind not in accelerator_pb2.AcceleratorKind.values():
        return "other"
    return accelerator_pb2.AcceleratorKind.Name(kind).removeprefix("ACCELERATOR_KIND_").lower()


def problem_from_proto(problem: problem_pb2.Problem) -> Problem:
    known = problem.reason in problem_pb2.Reason.values()
    reason = problem_pb2.Reason.Name(problem.reason).removeprefix("REASON_") if known else "INTERNAL"
    return Problem(reason, problem.text, problem.remedy, dict(problem.metadata))


def _refused_from_proto(refusal: session_pb2.Refusal) -> m.Refused:
    retry_after = _duration(refusal.retry_after) if refusal.HasField("retry_after") else None
    return m.Refused(problem_from_proto(refusal.problem), retry_after)


def _heartbeat_ack_from_proto(ack: session_pb2.HeartbeatAck) -> m.HeartbeatAck:
    period = _duration(ack.next_period) if ack.HasField("next_period") else None
    return m.HeartbeatAck(ack.heartbeat_seq, period)


def batch_from_proto(batch: session_pb2.DesiredBatch) -> m.DesiredBatch:
    return m.DesiredBatch(
        nonce=batch.nonce,
        from_revision=batch.from_revision,
        to_revision=batch.to_revision,
        snapshot=batch.snapshot,
        last_chunk=batch.last_chunk,
        resources=tuple(_wanted_from_proto(resource) for resource in batch.resources),
        removals=tuple(m.Removal(InstanceName(gone.name), gone.revision) for gone in batch.removals),
        digest_after=batch.digest_after,
        allowed_removals=tuple(
            m.AllowedRemoval(InstanceName(held.instance), held.spec_revision) for held in batch.allowed_removals
        ),
    )


def _wanted_from_proto(resource: session_pb2.DesiredResource) -> m.Wanted:
    spec = _spec_from_proto(resource) if resource.WhichOneof("spec") == "instance" else _no_spec(resource)
    return m.Wanted(InstanceName(resource.name), resource.generation, resource.revision, spec)


def _no_spec(resource: session_pb2.DesiredResource) -> Problem:
    return Problem(
        "SPEC_INVALID",
        f"{resource.name} is of a kind that this agent does not know.",
        "Update the agent on this node.",
        {"instance": resource.name},
    )


def _spec_from_proto(resource: session_pb2.DesiredResource) -> InstanceSpec | Problem:
    if problem := _unfit(resource):
        return problem
    wanted, runtime = resource.instance, resource.instance.runtime
    return InstanceSpec(
        name=InstanceName(resource.name),
        generation=resource.generation,
        revision=resource.revision,
        runtime_id=wanted.runtime_id,
        adapter=runtime.adapter,
        model=ModelFile(wanted.model.name, wanted.model.path, wanted.model.sha256, wanted.model.size_bytes),
        desired_state=_desired_state(wanted.desired_state),
        settings=_settings_from_proto(runtime.settings),
        accelerator=_accelerator_slug(runtime.accelerator),
        degrade_on_missing_accelerator=runtime.on_missing_accelerator != runtime_pb2.MISSING_ACCELERATOR_FAIL,
        auto_start=runtime.auto_start,
        restart=_restart_from_proto(runtime.restart),
        holds=frozenset(map(_hold_from_proto, wanted.holds)),
        restore=RestoreOrder(wanted.restore.serial, wanted.restore.restart, wanted.restore.reset_budget),
        projector=_projector_from_proto(wanted.model),
        process=_process_from_proto(runtime.process) if runtime.HasField("process") else None,
        external=_external_from_proto(runtime.external) if runtime.HasField("external") else None,
        execution=_execution_from_proto(runtime.execution),
        on_demand=runtime.residence.on_demand,
        rests=wanted.desired_state == runtime_pb2.DESIRED_STATE_HIBERNATED,
    )


def _hold_from_proto(hold: session_pb2.Hold) -> Hold:
    return Hold(hold.claim, hold.fence, _duration(hold.stop_after) if hold.HasField("stop_after") else None)


def _unfit(resource: session_pb2.DesiredResource) -> Problem | None:
    wanted, told = resource.instance, {"instance": resource.name}
    if not wanted.desired_state:
        text = f"{resource.name} does not say whether it shall run."
        return Problem("SPEC_INVALID", text, "Apply its manifest again.", told)
    modes, runs = wanted.runtime.execution.modes, wanted.desired_state == runtime_pb2.DESIRED_STATE_RUNNING
    if runs and modes and not _MODES.keys() & set(modes):
        text = f"{resource.name} may only run in modes that this agent does not know."
        remedy = "Update the agent on this node, or let the runtime run in another mode."
        return Problem("EXECUTION_MODE_UNAVAILABLE", text, remedy, told)
    return None


def _projector_from_proto(model: session_pb2.ModelFile) -> ModelFile | None:
    part = model.projector
    return ModelFile(model.name, part.path, part.sha256, part.size_bytes) if model.HasField("projector") else None


def _process_from_proto(process: runtime_pb2.ProcessSettings) -> ProcessSettings:
    health = process.health
    status = health.expect_status if health.HasField("expect_status") else HealthCheck().expect_status
    return ProcessSettings(
        command=tuple(process.command),
        env=tuple(sorted(process.env.items())),
        directory=process.working_directory,
        port=process.port,
        health=HealthCheck(health.path, status, health.expect_body),
        openai=process.openai,
    )


def _external_from_proto(external: runtime_pb2.ExternalSettings) -> ExternalSettings:
    return ExternalSettings(external.url, external.health_path, external.model)


def _execution_from_proto(execution: execution_pb2.ExecutionSettings) -> ExecutionSettings:
    modes = frozenset(_MODES[mode] for mode in execution.modes if mode in _MODES)
    return ExecutionSettings(modes, _MODES.get(execution.preferred), execution.image)


def _desired_state(state: runtime_pb2.DesiredState.ValueType) -> DesiredState:
    return DesiredState.RUNNING if state == runtime_pb2.DESIRED_STATE_RUNNING else DesiredState.STOPPED


def _settings_from_proto(settings: runtime_pb2.EngineSettings) -> EngineSettings:
    given: dict[str, Any] = {field.name: value for field, value in settings.ListFields()}
    if settings.warm_up_prompts:
        given["warm_up_prompts"] = tuple(settings.warm_up_prompts)
    return EngineSettings(**{name: value for name, value in given.items() if name in EngineSettings.__slots__})


def _restart_from_proto(restart: runtime_pb2.RestartPolicy) -> RestartPolicy:
    default = RestartPolicy()
    return RestartPolicy(
        restart.max_restarts if restart.HasField("max_restarts") else default.max_restarts,
        _duration(restart.window) if restart.HasField("window") else default.window,
    )


def _ack_to_proto(ack: m.DesiredAck) -> session_pb2.DesiredAck:
    problems = [
        session_pb2.ResourceProblem(
            name=p.name, generation=p.generation, problem=problem_to_proto(p.problem), spec_revision=p.spec_revision
        )
        for p in ack.problems
    ]
    return session_pb2.DesiredAck(
        nonce=ack.nonce,
        desired_revision=ack.desired_revision,
        desired_digest=ack.desired_digest,
        problems=problems,
    )


def _heartbeat_to_proto(heartbeat: m.Heartbeat) -> session_pb2.Heartbeat:
    return session_pb2.Heartbeat(
        observed_seq=heartbeat.observed_seq,
        desired_revision=heartbeat.desired_revision,
        self_lateness_ms=int(heartbeat.self_lateness / timedelta(milliseconds=1)),
        usage=usage_to_proto(heartbeat.usage) if heartbeat.usage else None,
    )


def _report_to_proto(report: m.ObservedReport) -> session_pb2.ObservedReport:
    return session_pb2.ObservedReport(
        observed_seq=report.observed_seq,
        full=report.full,
        instances=[status_to_proto(status) for status in report.instances],
        gone=report.gone,
    )


def _duration(duration: Duration) -> timedelta:
    return duration.ToTimedelta()
