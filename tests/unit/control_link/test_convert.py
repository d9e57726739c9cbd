from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration

from arw.v1 import accelerator_pb2, instance_pb2, problem_pb2, runtime_pb2, session_pb2
from node_agent.control_link.convert import agent_to_proto, batch_from_proto, control_from_proto
from node_agent.control_link.convert_facts import inventory_to_proto, problem_to_proto, status_to_proto
from node_agent.control_link.messages import (
    AgentEnvelope,
    ControlBody,
    DesiredAck,
    DrainNotice,
    Goodbye,
    GoodbyeKind,
    Heartbeat,
    HeartbeatAck,
    Hello,
    LogRequest,
    ObservedReport,
    ParkConnections,
    ProbeInstance,
    Refused,
    Replica,
    ReplicasChanged,
    ReportFullState,
    ResourceProblem,
    Unknown,
)
from node_agent.domain.inventory import Accelerator, Engine, Inventory
from node_agent.domain.spec import (
    DesiredState,
    EngineSettings,
    ExternalSettings,
    Hold,
    InstanceSpec,
    ProcessSettings,
    RestartPolicy,
    RestoreOrder,
)
from node_agent.domain.status import (
    BudgetView,
    ExitRecord,
    Health,
    InstanceState,
    InstanceStatus,
    Problem,
    ProcessIdentity,
)
from tests.fakes.agent_bench import ME, name_of

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def body_of(**message: object) -> ControlBody:
    return control_from_proto(session_pb2.ControlMessage(seq=3, session_epoch=7, **message)).body  # type: ignore[arg-type]


def a_resource() -> session_pb2.DesiredResource:
    resource = session_pb2.DesiredResource(name=name_of("a"), generation=2, revision=9)
    wanted = resource.instance
    wanted.runtime_id = "llama.cpp-preview/linux"
    wanted.runtime.adapter = "llama.cpp"
    wanted.runtime.accelerator = accelerator_pb2.ACCELERATOR_KIND_GPU_CUDA
    wanted.runtime.on_missing_accelerator = runtime_pb2.MISSING_ACCELERATOR_FAIL
    wanted.runtime.auto_start = True
    wanted.runtime.settings.context_length = 4096
    wanted.runtime.settings.warm_up = False
    wanted.runtime.restart.max_restarts = 0
    wanted.model.MergeFrom(session_pb2.ModelFile(name="models/tiny", path="/m.gguf", sha256="ab", size_bytes=5))
    wanted.desired_state = runtime_pb2.DESIRED_STATE_STOPPED
    wanted.holds.append(session_pb2.Hold(claim="system", fence=3))
    wanted.holds.append(session_pb2.Hold(claim="c1", fence=4, stop_after=Duration(seconds=60)))
    wanted.restore.MergeFrom(session_pb2.RestoreOrder(serial=4, restart=True, reset_budget=True))
    return resource


def spec_of(resource: session_pb2.DesiredResource) -> InstanceSpec | Problem:
    (wanted,) = batch_from_proto(session_pb2.DesiredBatch(resources=[resource])).resources
    return wanted.spec


def test_a_spec_arrives_whole() -> None:
    spec = spec_of(a_resource())
    assert isinstance(spec, InstanceSpec)
    assert (spec.name, spec.generation, spec.revision) == (name_of("a"), 2, 9)
    assert (spec.runtime_id, spec.adapter, spec.accelerator) == ("llama.cpp-preview/linux", "llama.cpp", "gpu_cuda")
    assert (spec.model.path, spec.model.sha256, spec.model.size_bytes) == ("/m.gguf", "ab", 5)
    assert spec.desired_state is DesiredState.STOPPED
    assert spec.auto_start
    assert not spec.degrade_on_missing_accelerator
    assert {hold: hold.stop_after for hold in spec.holds} == {
        Hold("system", 3): None,
        Hold("c1", 4): timedelta(seconds=60),
    }
    assert spec.restore == RestoreOrder(4, restart=True, reset_budget=True)


def test_what_a_program_or_a_projector_needs_arrives_too() -> None:
    resource = a_resource()
    process = runtime_pb2.ProcessSettings(command=["/p", "{port}"], env={"b": "2", "a": "1"}, openai=True)
    resource.instance.runtime.process.CopyFrom(process)
    resource.instance.runtime.external.CopyFrom(runtime_pb2.ExternalSettings(url="http://h:1", model="m"))
    resource.instance.model.projector.path = "/mm.gguf"
    spec = spec_of(resource)
    assert isinstance(spec, InstanceSpec)
    assert spec.process == ProcessSettings(("/p", "{port}"), env=(("a", "1"), ("b", "2")), openai=True)
    assert spec.external == ExternalSettings("http://h:1", model="m")
    assert spec.projector is not None
    assert spec.projector.path == "/mm.gguf"


def test_absent_settings_stay_the_adapters_choice_and_false_is_not_absent() -> None:
    spec = spec_of(a_resource())
    assert isinstance(spec, InstanceSpec)
    assert spec.settings == EngineSettings(context_length=4096, warm_up=False)
    assert spec.restart == RestartPolicy(max_restarts=0)


def test_an_accelerator_of_a_newer_control_plane_is_another_one() -> None:
    resource = a_resource()
    resource.instance.runtime.accelerator = 99  # type: ignore[assignment]
    spec = spec_of(resource)
    assert isinstance(spec, InstanceSpec)
    assert spec.accelerator == "other"


def test_a_resource_of_an_unknown_kind_is_a_problem_not_a_failure() -> None:
    spec = spec_of(session_pb2.DesiredResource(name=name_of("a"), generation=1, revision=1))
    assert isinstance(spec, Problem)
    assert spec.reason == "SPEC_INVALID"


def test_a_resource_that_does_not_say_whether_to_run_is_a_problem() -> None:
    resource = a_resource()
    resource.instance.desired_state = runtime_pb2.DESIRED_STATE_UNSPECIFIED
    spec = spec_of(resource)
    assert isinstance(spec, Problem)


def test_every_message_of_the_control_plane_is_understood() -> None:
    within = Duration(seconds=8)
    problem = problem_pb2.Problem(reason=problem_pb2.REASON_DRAINING, text="t", remedy="r", metadata={"a": "b"})
    refusal = session_pb2.Refusal(problem=problem, retry_after=within)
    assert body_of(refusal=refusal) == Refused(Problem("DRAINING", "t", "r", {"a": "b"}), timedelta(seconds=8))
    assert body_of(refusal=session_pb2.Refusal(problem=problem)) == Refused(Problem("DRAINING", "t", "r", {"a": "b"}))
    ack = session_pb2.HeartbeatAck(heartbeat_seq=4, next_period=within)
    assert body_of(heartbeat_ack=ack) == HeartbeatAck(4, timedelta(seconds=8))
    assert body_of(heartbeat_ack=session_pb2.HeartbeatAck(heartbeat_seq=4)) == HeartbeatAck(4)
    assert body_of(report_full_state=session_pb2.ReportFullState(reason="gap")) == ReportFullState("gap")
    assert body_of(park_connections=session_pb2.ParkConnections(idle_connections=5)) == ParkConnections(5)
    request = session_pb2.LogRequest(subscription="s", instance=name_of("a"), tail_lines=9, follow=True)
    assert body_of(log_request=request) == LogRequest("s", name_of("a"), 9, follow=True)
    request = session_pb2.LogRequest(subscription="s", instance=name_of("a"), whole=True)
    assert body_of(log_request=request) == LogRequest("s", name_of("a"), 0, follow=False, whole=True)
    park = session_pb2.ParkConnections(idle_connections=5, relay_address="b:7445")
    assert body_of(park_connections=park) == ParkConnections(5, "b:7445")
    request = session_pb2.LogRequest(subscription="s", instance=name_of("a"), grpc_address="b:7443")
    assert body_of(log_request=request) == LogRequest("s", name_of("a"), 0, follow=False, grpc_address="b:7443")
    asked = session_pb2.ProbeInstance(request="j1", instance=name_of("a"))
    assert body_of(probe_instance=asked) == ProbeInstance("j1", name_of("a"))
    replicas = [session_pb2.Replica(grpc_address="b:7443", relay_address="b:7445", relay_unix_path="/run/relay.sock")]
    changed = session_pb2.ReplicasChanged(replicas=replicas, parked_connections=2)
    told = ReplicasChanged((Replica("b:7443", "b:7445", "/run/relay.sock"),), 2)
    assert body_of(replicas_changed=changed) == told
    drain = session_pb2.DrainNotice(reconnect_within=within)
    assert body_of(drain_notice=drain) == DrainNotice(timedelta(seconds=8))
    assert body_of() == Unknown()


def test_a_reason_that_this_agent_does_not_know_is_shown_with_its_words() -> None:
    problem = problem_pb2.Problem(reason=999, text="Something new.")  # type: ignore[arg-type]
    body = body_of(refusal=session_pb2.Refusal(problem=problem))
    assert body == Refused(Problem("INTERNAL", "Something new."))
    assert problem_to_proto(Problem("MADE_UP", "x")).reason == problem_pb2.REASON_INTERNAL


def test_every_message_of_the_agent_is_written() -> None:
    inventory = Inventory("linux", "x86_64", "6.18", 2, 1024)
    hello = agent_to_proto(AgentEnvelope(1, 0, Hello(ME, "h", 5, b"d", inventory))).hello
    assert (hello.node, hello.history_id, hello.desired_revision, hello.desired_digest) == ("nodes/n1", "h", 5, b"d")
    assert (hello.protocol_min, hello.protocol_max) == (1, 1)
    problem = ResourceProblem(name_of("a"), 2, Problem("SPEC_INVALID", "No.", "Fix it."))
    ack = agent_to_proto(AgentEnvelope(2, 7, DesiredAck(3, 5, b"d", (problem,)))).desired_ack
    assert (ack.nonce, ack.problems[0].generation, ack.problems[0].problem.text) == (3, 2, "No.")
    beat = agent_to_proto(AgentEnvelope(3, 7, Heartbeat(4, 5, timedelta(milliseconds=250)))).heartbeat
    assert (beat.observed_seq, beat.desired_revision, beat.self_lateness_ms) == (4, 5, 250)
    report = agent_to_proto(AgentEnvelope(4, 7, ObservedReport(4, True, (), (name_of("a"),))))
    assert (report.seq, report.session_epoch, report.observed_report.full) == (4, 7, True)
    goodbye = agent_to_proto(AgentEnvelope(5, 7, Goodbye(GoodbyeKind.SHUTDOWN))).goodbye
    assert goodbye.kind == session_pb2.GOODBYE_KIND_SHUTDOWN


def test_a_status_is_written_whole() -> None:
    status = InstanceStatus(
        name_of("a"),
        InstanceState.DEGRADED,
        "CPU fallback",
        ("one",),
        2,
        3,
        ProcessIdentity("boot", 12, 345, 11),
        BudgetView(3, timedelta(seconds=600), 1, timedelta(seconds=500)),
        ExitRecord(None, 9, True, NOON, ("last line",)),
        Health(timedelta(milliseconds=3), 1, 2, 4),
        "cpu",
        "CPU",
        Problem("ACCELERATOR_MISSING", "No GPU."),
        NOON,
        "llama.cpp b1",
    )
    told = status_to_proto(status)
    assert told.state == instance_pb2.INSTANCE_STATE_DEGRADED
    assert (told.process.engine_pid, told.process.engine_start_ticks, told.process.shim_pid) == (12, 345, 11)
    assert (told.restart_budget.remaining, told.restart_budget.reset_in.seconds) == (2, 500)
    assert (told.last_exit.HasField("exit_code"), told.last_exit.signal, told.last_exit.oom_killed) == (False, 9, True)
    assert list(told.last_exit.log_tail) == ["last line"]
    assert (told.health.probe_latency.nanos, told.health.inflight_requests, told.health.slots) == (3_000_000, 2, 4)
    assert told.ready_time.ToDatetime(UTC) == NOON
    assert told.accelerator == accelerator_pb2.ACCELERATOR_KIND_CPU
    assert told.problem.reason == problem_pb2.REASON_ACCELERATOR_MISSING
    assert not status_to_proto(InstanceStatus(name_of("a"), InstanceState.PENDING)).HasField("health")
    assert status_to_proto(replace(status, answered_probes=("j1", "j2"))).answered_probes == ["j1", "j2"]


def test_every_state_has_its_name_on_the_wire() -> None:
    for state in InstanceState:
        assert status_to_proto(InstanceStatus(name_of("a"), state)).state


def test_an_inventory_names_devices_and_the_main_file_of_each_engine() -> None:
    engine = Engine("llama.cpp", ("/bin/server",), (("/bin/server", "aa"), ("/lib/x.so", "bb")), "b1")
    device = Accelerator("GPU-1", "gpu_cuda", "H200", None, "550", simulated=True)
    told = inventory_to_proto(Inventory("linux", "x86_64", "6.18", 2, 1024, (device,), (engine,)))
    assert (told.engines[0].path, told.engines[0].sha256, len(told.engines)) == ("/bin/server", "aa", 1)
    assert told.accelerators[0].kind == accelerator_pb2.ACCELERATOR_KIND_GPU_CUDA
    assert not told.accelerators[0].HasField("memory_bytes")
    assert told.accelerators[0].simulated
