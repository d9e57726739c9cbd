"""Piper's HTTP server: text in, speech out. It speaks no OpenAI path, so the gateway sends it nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from node_agent.domain.errors import AcceleratorMissing, EngineNotFound, ModelFileInvalid, ModelFileMissing
from node_agent.domain.inventory import Engine
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.engines import Candidate, program
from node_agent.runtimes.kinds.adapter import Capabilities, Command, Endpoint, Feature, Traits
from node_agent.runtimes.kinds.asking import environment
from node_agent.runtimes.kinds.flags import Option, rendered
from node_agent.runtimes.kinds.http_engine import HttpEngine
from node_agent.runtimes.kinds.intents import only
from node_agent.runtimes.probe import HOST

MODULE = ("-I", "-m", "piper.http_server")
FILES = "lib/python3*/site-packages/piper/*.py"
VOICE = ".onnx"
DESCRIPTION = ".json"
"""Follows the voice's whole name."""


class Piper(HttpEngine):
    id = "piper"
    traits = Traits(frozenset({Feature.SPEECH}), openai=False, model_folder=True)
    health_path: ClassVar = "/voices"
    version_question: ClassVar = ()

    def candidate(self, path: Path) -> Candidate:
        """A program that takes the server's options, or the Python of an environment that has piper-tts."""
        one = program(self.id, path)
        if not path.name.startswith("python"):
            return one
        files = sorted(path.absolute().parent.parent.glob(FILES))
        if not any(file.name == "http_server.py" for file in files):
            raise EngineNotFound(
                f"The environment of {path} has no piper.http_server.",
                "Install it there with `pip install piper-tts[http]`.",
                path=str(path),
            )
        return Candidate(self.id, (*one.command, *MODULE), (*one.files, *files))

    def check(self, spec: InstanceSpec) -> None:
        only(spec)
        voice = Path(spec.model.path)
        if voice.suffix != VOICE:
            raise ModelFileInvalid(
                f"{voice} is no voice: its name does not end in {VOICE}.", "Add the voice's ONNX file.", path=str(voice)
            )
        description = voice.with_name(voice.name + DESCRIPTION)
        if not description.is_file():
            raise ModelFileMissing(
                f"The voice {voice} lacks its description {description.name}.",
                "Put it beside the voice's file.",
                path=str(description),
            )

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        if spec.accelerator not in ("", "cpu", "gpu_cuda") and not spec.degrade_on_missing_accelerator:
            raise AcceleratorMissing(
                f"Piper cannot use an accelerator of kind {spec.accelerator}.",
                "Use gpu_cuda or cpu, or set on_missing_accelerator to degrade.",
                accelerator=spec.accelerator,
            )
        missing = spec.accelerator if spec.accelerator not in ("", "cpu", "gpu_cuda") else ""
        argv = (*engine.command, *rendered(list(_options(spec, at)), able))
        return Command(argv, environment(scratch), missing)


def _options(spec: InstanceSpec, at: Endpoint) -> Iterator[Option]:
    """By itself it listens on every address of the machine."""
    yield ("--model", "-m"), spec.model.path, True
    yield ("--host",), HOST, True
    yield ("--port",), str(at.port), True
    yield ("--data-dir",), str(Path(spec.model.path).parent), True
    if spec.accelerator == "gpu_cuda":
        yield ("--cuda",), None, True
