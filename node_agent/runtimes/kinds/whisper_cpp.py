"""whisper-server, the binary or the wheel's front. The binary has no key, no version and no list of models."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from node_agent.domain.errors import EngineIdentityMismatch
from node_agent.domain.inventory import Engine
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.engines import Candidate
from node_agent.runtimes.ggml import read_head
from node_agent.runtimes.kinds import exits, whisper_files
from node_agent.runtimes.kinds.adapter import Capabilities, Command, Endpoint, Feature, InUse, Traits
from node_agent.runtimes.kinds.asking import ask, environment
from node_agent.runtimes.kinds.flags import Option, flags_of, rendered
from node_agent.runtimes.kinds.http_engine import HttpEngine
from node_agent.runtimes.kinds.intents import only
from node_agent.runtimes.kinds.llama_help import kind_of
from node_agent.runtimes.kinds.model_list import listed, prove_by_key
from node_agent.runtimes.probe import HOST, NoAnswer, get

TRANSCRIPTIONS = "/v1/audio/transcriptions"
NOT_FOUND = 404
KEYED = "--api-key-file"
"""An option that only the front has."""
VERSION = re.compile(r"^version: (.+)$", re.MULTILINE)
USING = re.compile(r"whisper_backend_init_gpu: using (\S+) backend")
MARKS: exits.Marks = (
    (exits.NO_MEMORY, exits.no_memory),
    (("couldn't bind to server socket",), exits.no_port),
    (exits.BAD_ARGUMENT, exits.bad_argument),
    (("failed to open '",), exits.no_file),
    (("failed to load model", "failed to initialize whisper context"), exits.bad_file),
)


class WhisperCpp(HttpEngine):
    id = whisper_files.WHISPER_CPP
    traits = Traits(frozenset({Feature.TRANSCRIPTION}))
    marks: ClassVar = MARKS

    def found(self) -> Sequence[Candidate]:
        return whisper_files.found()

    def candidate(self, path: Path) -> Candidate:
        return whisper_files.candidate(path)

    async def _asked(self, engine: Engine) -> Capabilities:
        said = await ask(engine, *self.help_question)
        version = VERSION.search(said)
        return Capabilities(version[1] if version else "", flags_of(said))

    def check(self, spec: InstanceSpec) -> None:
        only(spec, "threads", "warm_up")
        read_head(Path(spec.model.path))

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        return Command((*engine.command, *rendered(list(_options(spec, at)), able)), environment(scratch))

    async def prove(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> None:
        """The front by its key; the binary, which takes none, by the page that names the path it was given."""
        answer = await listed(port, key, patience)
        if answer is None or answer.status != NOT_FOUND:
            await prove_by_key(spec.runtime_id, port, key, patience)
        elif not await _is_ours(port, patience):
            raise EngineIdentityMismatch(
                f"What answers on port {port} is not the engine that was started.",
                "Look for another program that uses this port; the engine is started again with another one.",
                port=str(port),
            )

    async def in_use(self, spec: InstanceSpec, port: int, key: str, patience: timedelta, log: Sequence[str]) -> InUse:
        using = next((match[1] for line in log if (match := USING.search(line))), None)
        kind = kind_of(using) if using else "cpu"
        return InUse(slots=1, accelerator=kind, accelerator_label=using or "CPU")

    def port_was_taken(self, log: Sequence[str]) -> bool:
        return exits.classify(log, MARKS[1:2]) is not None


def _options(spec: InstanceSpec, at: Endpoint) -> Iterator[Option]:
    """Which accelerator is used shows only in the log: the binary lists none."""
    yield ("--model", "-m"), spec.model.path, True
    yield ("--host",), HOST, True
    yield ("--port",), str(at.port), True
    yield ("--alias",), spec.runtime_id, False
    yield (KEYED,), str(at.key_file), False
    yield ("--inference-path",), TRANSCRIPTIONS, False
    yield ("--language", "-l"), "auto", True
    if spec.settings.threads is not None:
        yield ("--threads", "-t"), str(spec.settings.threads), True
    if spec.accelerator == "cpu":
        yield ("--no-gpu", "-ng"), None, True
    if spec.settings.warm_up is False:
        yield ("--no-warmup",), None, False


async def _is_ours(port: int, patience: timedelta) -> bool:
    try:
        return TRANSCRIPTIONS.encode() in (await get(port, "/", patience)).body
    except NoAnswer:
        return False
