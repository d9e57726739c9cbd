"""Modes on their way from the manifest to the node, and from the node to whoever asks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from arw.v1 import execution_pb2, node_pb2, runtime_pb2, session_pb2
from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.execution import ExecutionMode as Mode
from control_plane.domain.execution import ExecutionSettings as Settings
from control_plane.domain.runtime import RuntimeSpec
from control_plane.messages.execution import MAX_OFFERS, mode_from_proto, offers_from_proto
from control_plane.messages.instances import instance_from_proto, instance_to_proto
from control_plane.messages.nodes import MAX_PATH, inventory_from_proto, inventory_to_proto
from control_plane.messages.runtimes import spec_to_proto
from node_agent.control_link import convert_facts
from node_agent.control_link.convert import batch_from_proto
from node_agent.domain.inventory import Engine, EngineDevice, ExecutionOffer, Inventory
from node_agent.domain.spec import DesiredState, ExecutionMode, ExecutionSettings, InstanceSpec
from node_agent.domain.status import InstanceState, InstanceStatus, Problem
from tests.fakes.agent_bench import name_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEWER = 99


def arrived(runtime: runtime_pb2.RuntimeSpec, *, stopped: bool = False) -> InstanceSpec | Problem:
    resource = session_pb2.DesiredResource(name=name_of("a"), generation=1, revision=1)
    resource.instance.runtime.CopyFrom(runtime)
    state = runtime_pb2.DESIRED_STATE_STOPPED if stopped else runtime_pb2.DESIRED_STATE_RUNNING
    resource.instance.desired_state = state
    (wanted,) = batch_from_proto(session_pb2.DesiredBatch(resources=[resource])).resources
    return wanted.spec


def asking(*modes: int) -> runtime_pb2.RuntimeSpec:
    execution = execution_pb2.ExecutionSettings(modes=modes, preferred=NEWER)  # type: ignore[arg-type]
    return runtime_pb2.RuntimeSpec(adapter="llama.cpp", execution=execution)


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        (Settings(), ExecutionSettings()),
        (
            Settings((Mode.NATIVE, Mode.CONTAINER), Mode.CONTAINER, "llama:1"),
            ExecutionSettings(frozenset(ExecutionMode), ExecutionMode.CONTAINER, "llama:1"),
        ),
        (Settings((Mode.NATIVE,)), ExecutionSettings(frozenset({ExecutionMode.NATIVE}))),
    ],
)
def test_what_a_manifest_says_of_modes_reaches_the_node(declared: Settings, wanted: ExecutionSettings) -> None:
    sent = spec_to_proto(RuntimeSpec("llama.cpp", execution=declared))
    assert sent.HasField("execution") is (declared != Settings())
    spec = arrived(sent)
    assert isinstance(spec, InstanceSpec)
    assert spec.execution == wanted


def test_modes_that_the_agent_does_not_know_are_never_taken_for_any_mode() -> None:
    some = arrived(asking(NEWER, execution_pb2.EXECUTION_MODE_NATIVE))
    assert isinstance(some, InstanceSpec)
    assert some.execution == ExecutionSettings(frozenset({ExecutionMode.NATIVE}))
    for modes in ((NEWER,), (execution_pb2.EXECUTION_MODE_UNSPECIFIED,)):
        none = arrived(asking(*modes))
        assert isinstance(none, Problem)
        assert (none.reason, none.metadata["instance"]) == ("EXECUTION_MODE_UNAVAILABLE", name_of("a"))
        assert none.remedy


def test_an_order_to_stop_is_taken_whatever_the_modes() -> None:
    spec = arrived(asking(NEWER), stopped=True)
    assert isinstance(spec, InstanceSpec)
    assert spec.desired_state is DesiredState.STOPPED


def test_how_an_engine_runs_and_why_reaches_whoever_asks_the_control_plane() -> None:
    status = InstanceStatus(
        name_of("a"),
        InstanceState.READY,
        execution_mode=ExecutionMode.CONTAINER,
        execution_reason="the manifest prefers it",
    )
    heard = instance_from_proto(convert_facts.status_to_proto(status), NOW)
    assert (heard.execution_mode, heard.execution_reason) == (Mode.CONTAINER, "the manifest prefers it")
    shown = instance_to_proto(heard, NOW)
    assert shown is not None
    assert shown.execution_mode == execution_pb2.EXECUTION_MODE_CONTAINER
    assert shown.execution_reason == "the manifest prefers it"


def test_what_was_never_started_has_no_mode() -> None:
    sent = convert_facts.status_to_proto(InstanceStatus(name_of("a"), InstanceState.PENDING))
    assert instance_from_proto(sent, NOW).execution_mode is Mode.UNSPECIFIED


def test_the_offers_and_images_of_a_node_reach_whoever_asks_the_control_plane() -> None:
    offers = (
        ExecutionOffer(ExecutionMode.NATIVE, available=True, detail=""),
        ExecutionOffer(ExecutionMode.CONTAINER, available=False, detail="podman is too old"),
    )
    image = Engine("llama.cpp", ("/app/llama-server",), (("llama:1", "ab" * 32),), "b1", "llama:1")
    native = Engine("llama.cpp", ("/opt/llama-server",), (("/opt/llama-server", "cd" * 32),), "b2")
    sent = convert_facts.inventory_to_proto(
        Inventory("linux", "x86_64", "", 2, 1, engines=(image, native), execution=offers)
    )
    shown = inventory_to_proto(inventory_from_proto(sent))
    assert [(each.path, each.sha256[:2], each.image) for each in shown.engines] == [
        ("/app/llama-server", "ab", "llama:1"),
        ("/opt/llama-server", "cd", ""),
    ]
    assert [(each.mode, each.available, each.detail) for each in shown.execution] == [
        (execution_pb2.EXECUTION_MODE_NATIVE, True, ""),
        (execution_pb2.EXECUTION_MODE_CONTAINER, False, "podman is too old"),
    ]


def test_what_an_engine_can_use_reaches_the_control_plane_and_silence_is_no_none() -> None:
    engine = Engine("llama.cpp", ("/opt/llama-server",), (("/opt/llama-server", "cd" * 32),))
    sight = (EngineDevice("CUDA0", "gpu_cuda", "NVIDIA H100"),)
    engines = (engine, replace(engine, devices=()), replace(engine, devices=sight))
    sent = convert_facts.inventory_to_proto(Inventory("linux", "x86_64", "", 2, 1, engines=engines))
    silent, blind, seeing = inventory_from_proto(sent).engines
    assert (silent.devices, blind.devices) == (None, ())
    assert [engine.can_use(AcceleratorKind.GPU_CUDA) for engine in (silent, blind, seeing)] == [True, False, True]
    assert not seeing.can_use(AcceleratorKind.GPU_ROCM)
    shown = inventory_to_proto(inventory_from_proto(sent)).engines[2].devices.devices
    assert [(each.name, each.description) for each in shown] == [("CUDA0", "NVIDIA H100")]


def test_a_node_that_tells_of_endless_modes_is_not_listened_to_for_ever() -> None:
    offer = execution_pb2.ExecutionOffer(mode=NEWER, available=True, detail="y" * 10_000)  # type: ignore[arg-type]
    kept = offers_from_proto([offer] * (MAX_OFFERS + 1))
    assert len(kept) == MAX_OFFERS
    assert kept[0].mode is Mode.UNSPECIFIED
    assert len(kept[0].detail) <= 400
    assert mode_from_proto(NEWER) is Mode.UNSPECIFIED  # type: ignore[arg-type]


def test_an_engine_in_an_image_of_endless_name_is_left_out() -> None:
    engine = node_pb2.Engine(adapter="llama.cpp", path="/app/x", image="i" * (MAX_PATH + 1))
    assert inventory_from_proto(node_pb2.NodeInventory(engines=[engine])).engines == ()
