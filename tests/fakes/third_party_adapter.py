"""An adapter as a package outside this repository would bring it, under the entry point `arw.adapters`."""

from __future__ import annotations

from pathlib import Path

from node_agent.domain.errors import ModelFileInvalid
from node_agent.domain.inventory import Engine
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.kinds.adapter import Capabilities, Command, Endpoint, Feature, Traits
from node_agent.runtimes.kinds.asking import environment
from node_agent.runtimes.kinds.flags import rendered
from node_agent.runtimes.kinds.http_engine import HttpEngine
from node_agent.runtimes.kinds.intents import only
from tests.fakes.adapter_cases import Case
from tests.fakes.instance_specs import model_at, spec


class ShellEcho(HttpEngine):
    id = "acme.echo"
    traits = Traits(frozenset({Feature.CHAT}))

    def check(self, spec: InstanceSpec) -> None:
        only(spec)
        if not spec.model.path.endswith(".echo"):
            raise ModelFileInvalid(f"{spec.model.path} is no echo.", "Add an .echo file.", path=spec.model.path)

    def render(self, spec: InstanceSpec, engine: Engine, able: Capabilities, at: Endpoint, scratch: Path) -> Command:
        options = [(("--port",), str(at.port), True), (("--sound",), spec.model.path, True)]
        return Command((*engine.command, *rendered(options, able)), environment(scratch))


class Impostor(ShellEcho):
    id = "llama.cpp"


def broken() -> None:
    raise TypeError("it cannot be made")


def _sound(folder: Path) -> InstanceSpec:
    (folder / "a.echo").write_text("a")
    return spec(adapter=ShellEcho.id, model=model_at(folder / "a.echo"))


CASE = Case(ShellEcho.id, "  --port PORT  port\n  --sound FILE  sound\n", _sound)
