"""Any program with a command line: the manifest says how to start it and how it says that it is well."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from node_agent.domain.errors import LocalPolicyDenied, SpecInvalid
from node_agent.domain.inventory import Engine
from node_agent.domain.spec import InstanceSpec, ProcessSettings
from node_agent.runtimes.engines import Candidate, program
from node_agent.runtimes.kinds.adapter import ANY_PROGRAM, Capabilities, Command, Endpoint, Feature, Readiness, Traits
from node_agent.runtimes.kinds.asking import environment
from node_agent.runtimes.kinds.http_engine import HttpEngine
from node_agent.runtimes.kinds.intents import only
from node_agent.runtimes.probe import HOST, NoAnswer, get, listens

SHELLS = frozenset(
    {"ash", "bash", "busybox", "csh", "dash", "env", "fish", "ksh", "nohup", "pwsh", "sh", "sudo", "tcsh"}
)
INTERPRETERS = SHELLS | {"deno", "java", "lua", "node", "perl", "php", "python", "ruby", "xargs", "zsh"}
NEVER_SET = frozenset({"CLASSPATH", "ENV", "HOME", "IFS", "PATH", "PROMPT_COMMAND", "PS4", "SHELLOPTS", "TMPDIR"})
LOADERS = ("LD_", "DYLD_", "GCONV_", "GLIBC_", "GIT_", "MALLOC_")
LANGUAGES = ("BASH", "JAVA", "JDK_", "_JAVA", "LUA", "NODE_", "PERL", "PHP", "PYTHON", "RUBY")
"""Variables that begin so put other code into a trusted program, or into the interpreter of a trusted script."""


class Process(HttpEngine):
    id = "process"
    traits = Traits(ANY_PROGRAM - {Feature.METRICS, Feature.KEY}, needs_model=False, openai=False)

    def candidate(self, path: Path) -> Candidate:
        """Trust in what runs any text it is given would be trust in everything."""
        name = path.resolve().name.rstrip("0123456789.-")
        if name in INTERPRETERS:
            raise LocalPolicyDenied(
                f"{path} runs whatever it is told to run, so trust in it would have no limits.",
                "Trust a script instead: an executable file whose first line names its interpreter.",
                path=str(path),
            )
        return program(self.id, path)

    async def probe(self, engine: Engine) -> Capabilities:
        """Nothing is known of its options, so nothing is asked."""
        return Capabilities("", frozenset())

    def check(self, spec: InstanceSpec) -> None:
        only(spec)
        settings = _settings(spec)
        refused = [name for name, _ in settings.env if name in NEVER_SET or name.startswith(LOADERS + LANGUAGES)]
        if refused:
            raise SpecInvalid(
                f"process.env must not set {', '.join(refused)}: the agent does, or it would change what is trusted.",
                "Leave it out; what a program needs for its libraries belongs into a script on the node.",
            )
        if not settings.port and not any("{port}" in part for part in settings.command[1:]):
            raise SpecInvalid(
                "process.command does not say where {port} goes, and process.port is not set.",
                'Put "{port}" into an argument, or name the port that the program always uses.',
            )

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        settings = _settings(spec)
        places = {"{port}": str(at.port), "{key_file}": str(at.key_file), "{model}": spec.model.path}
        arguments = [_filled(part, places) for part in settings.command[1:]]
        env = environment(scratch) | {name: _filled(value, places) for name, value in settings.env}
        return Command((*engine.command, *arguments), env, directory=settings.directory)

    async def readiness(self, spec: InstanceSpec, port: int, key: str, patience: timedelta) -> Readiness:
        health = _settings(spec).health
        if not health.path:
            return Readiness.READY if await listens(HOST, port, patience) else Readiness.SILENT
        try:
            answer = await get(port, health.path, patience)
        except NoAnswer:
            return Readiness.SILENT
        well = answer.status == health.expect_status and health.expect_body.encode() in answer.body
        return Readiness.READY if well else Readiness.LOADING


def _settings(spec: InstanceSpec) -> ProcessSettings:
    if spec.process is None or not spec.process.command:
        raise SpecInvalid(f"{spec.runtime_id} does not say what to run.", "Set process.command in its manifest.")
    return spec.process


def _filled(text: str, places: dict[str, str]) -> str:
    for place, value in places.items():
        text = text.replace(place, value)
    return text
