"""A whole control plane inside the test's own loop: real TLS, real SQLite, free ports, second-long timers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from arw.v1.model_pb2 import Model
from arw.v1.model_service_pb2 import CreateModelRequest
from arw.v1.model_service_pb2_grpc import ModelServiceStub
from arw.v1.node_service_pb2 import CreateJoinTokenRequest, GetNodeRequest
from arw.v1.node_service_pb2_grpc import NodeServiceStub
from arw.v1.runtime_pb2 import Runtime
from arw.v1.runtime_service_pb2 import MANIFEST_FORMAT_TOML, ApplyManifestRequest, WatchRuntimesRequest
from arw.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from arw.v1.state_service_pb2 import WatchEventsRequest
from arw.v1.state_service_pb2_grpc import StateServiceStub
from control_plane.app import ControlPlane
from control_plane.ground import Ground, ground
from control_plane.initialise import initialise
from control_plane.process.clock import SystemClock
from control_plane.settings import Paths, Settings
from control_plane.timers import Timers
from control_plane.use_cases.ports import Clock
from tests.fakes.scripted_agent import PATIENCE, Credentials, ScriptedAgent, credentials_of, enrol
from wire.channel import secure_channel


@dataclass
class RunningPlane:
    plane: ControlPlane
    on: Ground
    ports: Mapping[str, int]
    context: dict[str, str]
    channel: grpc.aio.Channel
    """The operator's."""
    stop: asyncio.Event
    task: asyncio.Task[None]

    @property
    def ca_pem(self) -> bytes:
        return self.context["ca_pem"].encode()

    def address(self, port: str) -> str:
        return f"127.0.0.1:{self.ports[port]}"

    @property
    def nodes(self) -> Any:
        return NodeServiceStub(self.channel)

    @property
    def runtimes(self) -> Any:
        return RuntimeServiceStub(self.channel)

    @property
    def models(self) -> Any:
        return ModelServiceStub(self.channel)

    @property
    def state(self) -> Any:
        return StateServiceStub(self.channel)

    async def token(self, **request: Any) -> str:
        answer = await self.nodes.CreateJoinToken(CreateJoinTokenRequest(**request))
        return str(answer.secret_text)

    async def join(self, node: str) -> Credentials:
        answer, key = await enrol(self.address("enrollment"), self.ca_pem, await self.token(), node)
        return credentials_of(answer, key)

    async def declare(self, *runtimes: str, bulk: int = 0) -> int:
        """Register a model and these runtimes, each with about `bulk` KiB of tags; returns the revision."""
        model = Model(path="/models/m.gguf", sha256="cd" * 32, size_bytes=1000, format="gguf")
        await self.models.CreateModel(CreateModelRequest(model_id="m", model=model))
        entries = "".join(
            f"""[[runtimes]]
            id = "{runtime}"
            adapter = "llama.cpp"
            model = "m"
            auto_start = true
            tags = {{ {", ".join(f'k{number} = "{"x" * 250}"' for number in range(bulk * 4))} }}
            """
            for runtime in runtimes
        )
        request = ApplyManifestRequest(
            content=f"version = 1\n{entries}".encode(), format=MANIFEST_FORMAT_TOML, source="test.toml"
        )
        return int((await self.runtimes.ApplyManifest(request)).revision)

    async def until_node(self, node: str, state: int) -> None:
        """Wait until the node is in this state."""
        async with asyncio.timeout(PATIENCE):
            events = self.state.WatchEvents(WatchEventsRequest(prefixes=["cluster.node"], after_id=0))
            request = GetNodeRequest(name=f"nodes/{node}")
            while (await self.nodes.GetNode(request)).node.state != state:
                await events.read()
            events.cancel()

    async def until_runtime(self, runtime: str, state: int) -> Runtime:
        """The runtime once its instance is in this state."""
        async with asyncio.timeout(PATIENCE):
            changes = self.runtimes.WatchRuntimes(WatchRuntimesRequest(name=runtime))
            seen: Runtime = (await changes.read()).runtime
            while seen.instance.state != state:
                seen = (await changes.read()).runtime
            changes.cancel()
            return seen

    async def agent(self, node: str, **hello: Any) -> ScriptedAgent:
        """Joined and welcomed."""
        agent = ScriptedAgent(await self.join(node))
        await agent.open(**hello)
        return agent


@asynccontextmanager
async def running_plane(
    state: Path, *, database: str = "", secret: Path | None = None, clock: Clock | None = None, **timers: Any
) -> AsyncIterator[RunningPlane]:
    """`database`: an address of PostgreSQL, which several may share with one `secret`."""
    paths = Paths(state)
    paths.make()
    kept: dict[str, Any] = {"database": database, "authority_secret_file": str(secret or "")}
    settings = Settings(grpc_port=0, enrollment_port=0, relay_port=0, http_port=0, **kept)
    profile = replace(Timers.second_long(), **timers)
    await initialise(settings, profile, paths, SystemClock(), state / "context.json")
    context = json.loads((state / "context.json").read_bytes())
    async with ground(settings, profile, paths, clock or SystemClock()) as on:
        plane = ControlPlane(on)
        started: asyncio.Future[Mapping[str, int]] = asyncio.get_running_loop().create_future()

        @contextmanager
        def announce(ports: Mapping[str, int]) -> Any:
            started.set_result(ports)
            yield

        stop = asyncio.Event()
        task = asyncio.get_running_loop().create_task(plane.run(stop, announce))
        waited: set[asyncio.Future[Any]] = {task, started}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        ports = started.result()
        tls = grpc.ssl_channel_credentials(
            context["ca_pem"].encode(), context["key_pem"].encode(), context["certificate_pem"].encode()
        )
        async with secure_channel(f"127.0.0.1:{ports['grpc']}", tls) as channel:
            try:
                yield RunningPlane(plane, on, ports, context, channel, stop, task)
            finally:
                stop.set()
                await asyncio.wait({task})
        task.result()
