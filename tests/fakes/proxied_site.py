"""A real control plane and a real node agent with an unruly network between them; operators go past it."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from arw.v1 import instance_pb2, node_pb2
from arw.v1.model_pb2 import Model
from arw.v1.model_service_pb2 import CreateModelRequest
from arw.v1.model_service_pb2_grpc import ModelServiceStub
from arw.v1.node_service_pb2 import CreateJoinTokenRequest, GetNodeRequest
from arw.v1.node_service_pb2_grpc import NodeServiceStub
from arw.v1.runtime_service_pb2 import MANIFEST_FORMAT_TOML, ApplyManifestRequest, GetRuntimeRequest
from arw.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from arw.v1.state_service_pb2 import ListEventsRequest
from arw.v1.state_service_pb2_grpc import StateServiceStub
from arwctl import tiny_model
from tests.fakes import fake_runtime, owner_file
from tests.fakes.processes import AgentProcess, ControlPlaneProcess, until
from tests.fakes.unruly_proxy import UnrulyProxy
from wire.channel import OPTIONS
from wire.credentials import CONTROL_PLANE_NAME

HERE = "127.0.0.1"
THERE = "127.0.0.2"
"""Where nodes dial: the same ports on another loopback address, with the proxy behind them."""
NODE = "nodes/n1"
PIECE = 40
"""Runtimes in one manifest, which is limited to a mebibyte."""


@dataclass(slots=True)
class ProxiedSite:
    folder: Path
    plane: ControlPlaneProcess
    agent: AgentProcess
    proxy: UnrulyProxy
    channel: grpc.Channel
    """The operator's, past the proxy."""
    ports: dict[str, int]

    @property
    def ca_pem(self) -> bytes:
        return str(json.loads((self.folder / "context.json").read_text())["ca_pem"]).encode()

    def operator(self) -> grpc.aio.Channel:
        """For a test that runs on a loop."""
        return grpc.aio.secure_channel(f"{HERE}:{self.ports['grpc']}", *_operator_terms(self.folder))

    @property
    def plane_log(self) -> str:
        return (self.plane.state / "control-plane.log").read_text()

    @property
    def starts(self) -> list[str]:
        """One pid for each start of the engine."""
        file = self.folder / "behaviour.starts"
        return file.read_text().split() if file.exists() else []

    def join(self) -> None:
        token = NodeServiceStub(self.channel).CreateJoinToken(CreateJoinTokenRequest())
        engine = self.folder / "llama-server"
        address = f"{THERE}:{self.ports['enrollment']}"
        joined = self.agent.join(address, token.secret_text, "--name", "n1", "--engine", str(engine))
        assert joined.returncode == 0, joined.stderr

    def declare(self, *runtimes: str, auto_start: bool = True, tags: int = 0) -> int:
        """Runtimes of the tiny model, each with so many tags of a quarter KiB; returns the revision."""
        tag = "{" + ", ".join(f'k{number} = "{"x" * 250}"' for number in range(tags)) + "}"
        entries = [
            f'[[runtimes]]\nid = "{runtime}"\nadapter = "llama.cpp"\nmodel = "tiny"\n'
            f"auto_start = {str(auto_start).lower()}\ntags = {tag}\n"
            for runtime in runtimes
        ]
        pieces = ["".join(entries[at : at + PIECE]) for at in range(0, len(entries), PIECE)]
        return [self.apply(piece) for piece in pieces][-1]

    def apply(self, entries: str) -> int:
        content = f"version = 1\n{entries}".encode()
        request = ApplyManifestRequest(content=content, format=MANIFEST_FORMAT_TOML, source="drill.toml")
        return int(RuntimeServiceStub(self.channel).ApplyManifest(request).revision)

    def add_model(self, name: str, path: Path, sha256: str, size: int) -> None:
        model = Model(path=str(path), sha256=sha256, size_bytes=size, format="gguf")
        ModelServiceStub(self.channel).CreateModel(CreateModelRequest(model_id=name, model=model))

    def node_state(self) -> int:
        return int(NodeServiceStub(self.channel).GetNode(GetNodeRequest(name=NODE)).node.state)

    def instance(self, runtime: str = "r1") -> Any:
        answer = RuntimeServiceStub(self.channel).GetRuntime(GetRuntimeRequest(name=f"runtimes/{runtime}"))
        return answer.runtime.instance

    def until_node(self, state: node_pb2.NodeState.ValueType, patience_s: float = 20) -> None:
        until(lambda: self.node_state() == state, patience_s)

    def until_instance(self, state: instance_pb2.InstanceState.ValueType, runtime: str = "r1") -> Any:
        try:
            return until(lambda: self._instance_in(state, runtime))
        except AssertionError as late:
            raise AssertionError(f"{self.instance(runtime)}\n{self.agent.log[-3000:]}") from late

    def _instance_in(self, state: int, runtime: str) -> Any:
        found = self.instance(runtime)
        return found if found.state == state else None

    def node_turns(self) -> list[str]:
        """What the journal says of the node: states in order."""
        request = ListEventsRequest(prefixes=["cluster.node.changed"], page_size=1000)
        events = StateServiceStub(self.channel).ListEvents(request).events
        return [str(event.payload["state"]) for event in events if event.subject == NODE]


@contextmanager
def proxied_site(folder: Path) -> Iterator[ProxiedSite]:
    """Joined, not yet running."""
    with ExitStack() as life:
        plane = ControlPlaneProcess(folder)
        plane._command("init", *_any_ports(), "--advertise", THERE).check_returncode()
        plane.start()
        life.callback(plane.end)
        ports = json.loads((folder / "control_plane" / "run.json").read_bytes())["ports"]
        through = [((THERE, port), (HERE, port)) for name, port in ports.items() if name != "http"]
        proxy = life.enter_context(UnrulyProxy(through).running())
        channel = life.enter_context(_operator(folder, ports["grpc"]))
        site = ProxiedSite(folder, plane, AgentProcess(folder), proxy, channel, ports)
        life.callback(_stop_agent, site)
        _equip(site)
        site.join()
        yield site


@contextmanager
def new_site() -> Iterator[ProxiedSite]:
    """In a short folder: sockets have short paths."""
    with (
        tempfile.TemporaryDirectory(prefix="arw-drill-", ignore_cleanup_errors=True) as folder,
        proxied_site(Path(folder)) as site,
    ):
        yield site


def _any_ports() -> list[str]:
    return [word for name in ("grpc", "enrollment", "relay", "http") for word in (f"--{name}-port", "0")]


@contextmanager
def _operator(state: Path, port: int) -> Iterator[grpc.Channel]:
    with grpc.secure_channel(f"{HERE}:{port}", *_operator_terms(state)) as channel:
        yield channel


def _operator_terms(state: Path) -> tuple[grpc.ChannelCredentials, tuple[tuple[str, int | str], ...]]:
    context = json.loads((state / "context.json").read_text())
    root, key, chain = (context[name].encode() for name in ("ca_pem", "key_pem", "certificate_pem"))
    options = (*OPTIONS, ("grpc.ssl_target_name_override", CONTROL_PLANE_NAME))
    return grpc.ssl_channel_credentials(root, key, chain), options


def _equip(site: ProxiedSite) -> None:
    """An engine to order, and a model for it."""
    (site.folder / "behaviour.json").write_text("{}")
    engine = site.folder / "llama-server"
    behaviour = site.folder / "behaviour.json"
    engine.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_runtime.__file__} --behaviour {behaviour} "$@"\n')
    engine.chmod(0o700)
    owner_file.write(site.folder, folders=[site.folder])
    model = site.folder / "tiny.gguf"
    tiny_model.write(model)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    site.add_model("tiny", model, digest, model.stat().st_size)


def _stop_agent(site: ProxiedSite) -> None:
    """With every engine it started."""
    site.agent.command("stop")
    if site.agent.process:
        site.agent.end()
