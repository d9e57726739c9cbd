"""What runs already: an Ollama, a vLLM, a llama-server, or anything else that answers as OpenAI does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from node_agent.domain.errors import EngineNotFound, SpecInvalid
from node_agent.domain.inventory import Engine
from node_agent.domain.spec import ExternalSettings, InstanceSpec
from node_agent.runtimes.attachable import address_of
from node_agent.runtimes.engines import Candidate
from node_agent.runtimes.kinds import prometheus
from node_agent.runtimes.kinds.adapter import (
    ANY_PROGRAM,
    Capabilities,
    Command,
    Endpoint,
    Gauges,
    InUse,
    Readiness,
    Traits,
)
from node_agent.runtimes.kinds.http_engine import HttpEngine, bearer
from node_agent.runtimes.kinds.intents import only
from node_agent.runtimes.kinds.llama_cpp import LlamaCpp
from node_agent.runtimes.kinds.model_list import PATH, ids, listed, names
from node_agent.runtimes.kinds.vllm import Vllm
from node_agent.runtimes.probe import Answer, NoAnswer, get

OK = 200
SHOWN = 5


class External(HttpEngine):
    id = "external"
    traits = Traits(ANY_PROGRAM, needs_model=False, managed=False)
    counts = prometheus.joined(LlamaCpp.counts, Vllm.counts)

    def candidate(self, path: Path) -> Candidate:
        raise _not_a_program(str(path))

    async def probe(self, engine: Engine) -> Capabilities:
        raise _not_a_program(" ".join(engine.command))

    def check(self, spec: InstanceSpec) -> None:
        only(spec)
        address_of(_settings(spec).url)

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        raise _not_a_program(" ".join(engine.command))

    async def readiness(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> Readiness:
        settings = _settings(spec)
        host, _ = address_of(settings.url)
        try:
            answer = await get(port, settings.health_path or PATH, patience, bearer(key), host)
        except NoAnswer:
            return Readiness.SILENT
        return Readiness.READY if answer.status == OK else Readiness.LOADING

    async def prove(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> None:
        """SpecInvalid when it lists several models and the manifest does not say which."""
        settings = _settings(spec)
        answer = await _listed(settings, port, key, patience)
        there = ids(answer) if answer is not None else ()
        if not settings.model and len(there) > 1:
            raise SpecInvalid(
                f"{settings.url} has several models: {', '.join(there[:SHOWN])}.",
                "Set external.model to the one that this runtime stands for.",
            )
        if settings.model and answer is not None and there and settings.model not in names(answer):
            raise SpecInvalid(
                f"{settings.url} has no model {settings.model!r}; it has {', '.join(there[:SHOWN])}.",
                "Set external.model to one of them.",
            )

    async def in_use(self, spec: InstanceSpec, port: int, key: str, patience: timedelta, log: Sequence[str]) -> InUse:
        settings = _settings(spec)
        answer = await _listed(settings, port, key, patience)
        there = ids(answer) if answer is not None else ()
        return InUse(model=settings.model or next(iter(there), ""))

    async def gauges(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> Gauges:
        host, _ = address_of(_settings(spec).url)
        return await prometheus.scraped(port, self.counts, patience, bearer(key), host)


async def _listed(settings: ExternalSettings, port: int, key: str, patience: timedelta) -> Answer | None:
    host, _ = address_of(settings.url)
    return await listed(port, key, patience, host)


def _settings(spec: InstanceSpec) -> ExternalSettings:
    if spec.external is None:
        raise SpecInvalid(f"{spec.runtime_id} does not say what to attach to.", "Set external.url in its manifest.")
    return spec.external


def _not_a_program(what: str) -> EngineNotFound:
    return EngineNotFound(
        f"{what}: nothing is run for external runtimes.",
        "Allow an address of another machine with `arw-node-agent trust external http://HOST:PORT`.",
    )
