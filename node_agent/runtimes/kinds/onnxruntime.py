"""A server over ONNX Runtime. There is none of its own on Linux: any program with these options will do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from node_agent.domain.errors import AcceleratorMissing
from node_agent.domain.inventory import Engine
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.kinds.adapter import Capabilities, Command, Endpoint, Feature, Traits
from node_agent.runtimes.kinds.asking import environment
from node_agent.runtimes.kinds.flags import Option, rendered
from node_agent.runtimes.kinds.http_engine import HttpEngine
from node_agent.runtimes.kinds.intents import only
from node_agent.runtimes.kinds.model_folder import check_folder
from node_agent.runtimes.probe import HOST

MODEL_FILE = "genai_config.json"
PROVIDERS = {
    "cpu": "cpu",
    "gpu_cuda": "cuda",
    "npu_directml": "dml",
}


class OnnxRuntime(HttpEngine):
    id = "onnxruntime"
    traits = Traits(frozenset({Feature.CHAT}), model_folder=True)

    def check(self, spec: InstanceSpec) -> None:
        only(spec)
        check_folder(spec, MODEL_FILE, "model")

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        provider, missing = _provider(spec)
        argv = (*engine.command, *rendered(list(_options(spec, at, provider)), able))
        return Command(argv, environment(scratch), missing)


def _provider(spec: InstanceSpec) -> tuple[str, str]:
    """The execution provider, empty for its own choice, and the accelerator that was asked for in vain."""
    if not spec.accelerator or spec.accelerator in PROVIDERS:
        return PROVIDERS.get(spec.accelerator, ""), ""
    if not spec.degrade_on_missing_accelerator:
        raise AcceleratorMissing(
            f"ONNX Runtime has no execution provider for {spec.accelerator} here.",
            f"Use one of {', '.join(PROVIDERS)}, or set on_missing_accelerator to degrade.",
            accelerator=spec.accelerator,
        )
    return "cpu", spec.accelerator


def _options(spec: InstanceSpec, at: Endpoint, provider: str) -> Iterator[Option]:
    yield ("--model",), str(Path(spec.model.path).parent), True
    yield ("--alias",), spec.runtime_id, True
    yield ("--host",), HOST, True
    yield ("--port",), str(at.port), True
    yield ("--api-key-file",), str(at.key_file), True
    if provider:
        yield ("--ep",), provider, True
