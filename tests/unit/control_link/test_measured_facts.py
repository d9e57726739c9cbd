"""Speeds, and what a prompt cache holds, on their way from the manifest to the node and back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from arw.v1 import instance_pb2, runtime_pb2, session_pb2
from control_plane.domain.runtime import EngineSettings as Declared
from control_plane.domain.runtime import RuntimeSpec
from control_plane.messages.instances import instance_from_proto, instance_to_proto
from control_plane.messages.runtimes import spec_to_proto
from node_agent.control_link.convert import batch_from_proto
from node_agent.control_link.convert_facts import status_to_proto
from node_agent.domain.footprint import Footprint, FootprintKey, Speeds
from node_agent.domain.spec import DesiredState, EngineSettings, InstanceSpec
from node_agent.domain.status import InstanceState, InstanceStatus
from tests.fakes.agent_bench import name_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = FootprintKey("model", "engine", "options", "cpu")


def shown(speeds: Speeds = Speeds(), *, warm: bool | None = None) -> instance_pb2.Instance:  # noqa: B008 - frozen
    """As the control plane shows what the node said."""
    footprint = Footprint(KEY, 100, speeds=speeds)
    status = InstanceStatus(name_of("a"), InstanceState.READY, footprint=footprint, prompt_cache_warm=warm)
    found = instance_to_proto(instance_from_proto(status_to_proto(status), NOW), NOW)
    assert found is not None
    return found


def test_speeds_arrive_as_they_were_seen() -> None:
    footprint = shown(Speeds(9.25, 120.5)).footprint
    assert (footprint.generated_tokens_per_second, footprint.prompt_tokens_per_second) == (9.25, 120.5)


def test_an_unknown_speed_stays_absent_and_is_never_0() -> None:
    footprint = shown(Speeds(generated=9.25)).footprint
    assert footprint.HasField("generated_tokens_per_second")
    assert not footprint.HasField("prompt_tokens_per_second")


@pytest.mark.parametrize("nonsense", [0.0, -1.0, float("nan"), float("inf")])
def test_a_node_that_tells_nonsense_has_told_no_speed(nonsense: float) -> None:
    assert not shown(Speeds(generated=nonsense)).footprint.HasField("generated_tokens_per_second")


@pytest.mark.parametrize("warm", [True, False])
def test_a_prompt_cache_is_warm_or_empty(warm: bool) -> None:
    assert shown(warm=warm).prompt_cache_warm is warm


def test_an_engine_that_says_nothing_of_its_prompt_cache_is_not_called_empty() -> None:
    assert not shown().HasField("prompt_cache_warm")


def settings_of(declared: Declared) -> EngineSettings:
    resource = session_pb2.DesiredResource(name=name_of("a"), generation=1, revision=1)
    resource.instance.runtime.CopyFrom(spec_to_proto(RuntimeSpec("llama.cpp", settings=declared)))
    resource.instance.desired_state = runtime_pb2.DESIRED_STATE_RUNNING
    (wanted,) = batch_from_proto(session_pb2.DesiredBatch(resources=[resource])).resources
    assert isinstance(wanted.spec, InstanceSpec)
    assert wanted.spec.desired_state is DesiredState.RUNNING
    return wanted.spec.settings


def test_warm_up_prompts_reach_the_node_in_their_order() -> None:
    declared = Declared(slots=2, warm_up_prompts=("b", "a"), prompt_cache="songs")
    assert settings_of(declared) == EngineSettings(slots=2, warm_up_prompts=("b", "a"), prompt_cache="songs")
    assert settings_of(Declared(slots=2)) == EngineSettings(slots=2)
