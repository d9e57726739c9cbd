"""vLLM: `vllm serve` over a folder of weights. It takes its key from arguments or environment only, so it gets none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from node_agent.domain.inventory import Engine
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.kinds import exits
from node_agent.runtimes.kinds.adapter import Capabilities, Command, Endpoint, Feature, Traits
from node_agent.runtimes.kinds.asking import environment
from node_agent.runtimes.kinds.flags import Option, rendered
from node_agent.runtimes.kinds.http_engine import HttpEngine
from node_agent.runtimes.kinds.intents import only
from node_agent.runtimes.kinds.model_folder import check_folder
from node_agent.runtimes.probe import HOST

MODEL_FILE = "config.json"
OWN_ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1"}


class Vllm(HttpEngine):
    id = "vllm"
    traits = Traits(
        frozenset({Feature.CHAT, Feature.EMBEDDINGS, Feature.VISION, Feature.TRANSCRIPTION, Feature.METRICS}),
        slow_start=timedelta(minutes=10),
        model_folder=True,
        in_parts=True,
    )
    help_question: ClassVar = ("serve", "--help=all")
    patience_s: ClassVar = 120.0
    counts: ClassVar = {
        "requests_running": ("vllm:num_requests_running",),
        "requests_waiting": ("vllm:num_requests_waiting",),
        "prompt_tokens_total": ("vllm:prompt_tokens_total",),
        "generated_tokens_total": ("vllm:generation_tokens_total",),
        "cache_used_ratio": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    }
    marks: ClassVar = ((("no available memory for the cache blocks",), exits.no_memory), *exits.MARKS)

    def check(self, spec: InstanceSpec) -> None:
        only(spec, "context_length", "slots")
        check_folder(spec, MODEL_FILE, "architectures")

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        folder = str(Path(spec.model.path).parent)
        argv = (*engine.command, "serve", folder, *rendered(list(_options(spec, at)), able))
        return Command(argv, environment(scratch) | OWN_ENVIRONMENT)


def _options(spec: InstanceSpec, at: Endpoint) -> Iterator[Option]:
    yield ("--host",), HOST, True
    yield ("--port",), str(at.port), True
    yield ("--served-model-name",), spec.runtime_id, True
    yield ("--disable-uvicorn-access-log",), None, False
    if spec.settings.context_length is not None:
        yield ("--max-model-len",), str(spec.settings.context_length), True
    if spec.settings.slots is not None:
        yield ("--max-num-seqs",), str(spec.settings.slots), True
