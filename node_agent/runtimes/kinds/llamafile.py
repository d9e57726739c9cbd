"""llamafile: one file that is llama-server, and often its weights too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from node_agent.domain.inventory import Engine
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.engines import Candidate, program
from node_agent.runtimes.gguf import read_head
from node_agent.runtimes.kinds.adapter import Capabilities, Command, Endpoint, Feature, Traits
from node_agent.runtimes.kinds.asking import environment
from node_agent.runtimes.kinds.flags import Option, rendered
from node_agent.runtimes.kinds.http_engine import HttpEngine
from node_agent.runtimes.kinds.llama_cpp import LlamaCpp
from node_agent.runtimes.kinds.llama_options import ALL_LAYERS, options
from node_agent.runtimes.probe import HOST

SHELL = "/bin/sh"
"""The file is a program for several systems in one; a kernel may not know it, any shell does."""
MAKERS = {
    "": "auto",
    "cpu": "disable",
    "gpu_cuda": "nvidia",
    "gpu_rocm": "amd",
    "gpu_metal": "apple",
    "gpu_vulkan": "vulkan",
}


class Llamafile(HttpEngine):
    id = "llamafile"
    traits = Traits(frozenset({Feature.CHAT, Feature.EMBEDDINGS, Feature.METRICS, Feature.KEY}), needs_model=False)
    help_question: ClassVar = ("--server", "--help")
    counts: ClassVar = LlamaCpp.counts

    def candidate(self, path: Path) -> Candidate:
        one = program(self.id, path)
        return Candidate(one.adapter, (SHELL, *one.command), one.files)

    def check(self, spec: InstanceSpec) -> None:
        if spec.model.path:
            read_head(Path(spec.model.path))

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        trained = read_head(Path(spec.model.path)).context_length if spec.model.path else None
        wanted = options(spec, at, HOST, trained, _placement(spec))
        return Command((*engine.command, "--server", *rendered(wanted, able)), environment(scratch))

    prove = LlamaCpp.prove
    in_use = LlamaCpp.in_use


def _placement(spec: InstanceSpec) -> Iterator[Option]:
    """Named, a missing accelerator ends it with an error; "auto" falls back to the CPU, and its log says so."""
    strict = not spec.degrade_on_missing_accelerator
    maker = MAKERS.get(spec.accelerator, "auto")
    yield ("--gpu",), maker if strict or maker == "disable" else "auto", True
    layers = spec.settings.gpu_layers
    if maker != "disable":
        yield ("--n-gpu-layers", "--gpu-layers", "-ngl"), str(ALL_LAYERS if layers is None else layers), True
    if spec.settings.threads is not None:
        yield ("--threads", "-t"), str(spec.settings.threads), True
