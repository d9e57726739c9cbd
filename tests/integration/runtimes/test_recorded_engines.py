"""Engines that cannot run here: their command lines meet what the engines say of their options, under the real shim."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from node_agent.domain.spec import EngineSettings
from node_agent.domain.status import InstanceState
from tests.fakes import recorded_engine
from tests.fakes.adapter_cases import CASES, HELP
from tests.fakes.instance_specs import NAME
from tests.fakes.local_node import LocalNode, until_ready, until_state

RECORDED = {
    "llamafile": "llamafile-0.10.txt",
    "onnxruntime": "onnxruntime-contract.txt",
    "piper": "piper-1.8.0.txt",
    "vllm": "vllm-0.33.0.txt",
}
REACHED = {"llamafile", "onnxruntime", "vllm"}
"""Through the gateway."""


async def trusted(node: LocalNode, adapter: str, recorded: Path) -> None:
    program = node.path / f"{adapter}-engine"
    call = f"{sys.executable} {recorded_engine.__file__} {recorded}"
    program.write_text(f'#!/bin/sh\nexec {call} "$@"\n')
    program.chmod(0o700)
    node.sandbox = replace(node.sandbox, use=(*node.sandbox.use, str(recorded.parent)))
    await node.trust(program, adapter)


@pytest.mark.parametrize("adapter", sorted(RECORDED))
async def test_its_command_line_is_understood_and_it_becomes_ready(
    node: LocalNode, adapter: str, tmp_path: Path
) -> None:
    await trusted(node, adapter, HELP / RECORDED[adapter])
    async with node.agent(CASES[adapter].spec(tmp_path)) as supervisor:
        await until_ready(supervisor)
        assert (supervisor.door(NAME) is not None) == (adapter in REACHED)


@pytest.mark.parametrize(("adapter", "accelerator"), [("llamafile", "gpu_cuda"), ("piper", "gpu_cuda")])
async def test_an_accelerator_is_asked_for_in_the_engines_own_words(
    node: LocalNode, adapter: str, accelerator: str, tmp_path: Path
) -> None:
    await trusted(node, adapter, HELP / RECORDED[adapter])
    one = replace(CASES[adapter].spec(tmp_path), accelerator=accelerator, degrade_on_missing_accelerator=False)
    async with node.agent(one) as supervisor:
        await until_state(supervisor, InstanceState.STARTING)
        await until_ready_or_degraded(node, adapter, supervisor)
    record = node.home.launch()
    assert record is not None
    assert {"llamafile": "nvidia", "piper": "--cuda"}[adapter] in record.argv


async def until_ready_or_degraded(node: LocalNode, adapter: str, supervisor: object) -> None:
    """A llamafile whose log tells of no device is taken to run on the processor."""
    state = InstanceState.DEGRADED if adapter == "llamafile" else InstanceState.READY
    await until_state(supervisor, state)  # type: ignore[arg-type]


async def test_a_version_without_an_option_is_told_before_anything_starts(node: LocalNode, tmp_path: Path) -> None:
    older = tmp_path / "older.txt"
    older.write_text((HELP / "vllm-0.33.0.txt").read_text().replace("--max-num-seqs", "--other"))
    await trusted(node, "vllm", older)
    async with node.agent(CASES["vllm"].spec(tmp_path)) as supervisor:
        status = await until_state(supervisor, InstanceState.ERROR)
        assert status.problem is not None
        assert status.problem.metadata == {"flag": "--max-num-seqs", "version": "recorded"}
        assert status.process is None


async def test_a_setting_that_an_engine_has_no_word_for_is_refused(node: LocalNode, tmp_path: Path) -> None:
    await trusted(node, "vllm", HELP / RECORDED["vllm"])
    one = replace(CASES["vllm"].spec(tmp_path), settings=EngineSettings(gpu_layers=4))
    async with node.agent() as supervisor:
        problem = await supervisor.admit(one)
    assert problem is not None
    assert (problem.reason, problem.metadata) == ("SPEC_INVALID", {"settings": "gpu_layers"})
