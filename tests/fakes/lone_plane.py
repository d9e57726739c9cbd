"""A control plane that has nobody but its operators."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from arw.v1.model_pb2 import Model
from arw.v1.model_service_pb2 import CreateModelRequest
from arw.v1.model_service_pb2_grpc import ModelServiceStub
from arw.v1.runtime_service_pb2 import MANIFEST_FORMAT_TOML, ApplyManifestRequest, GetRuntimeRequest
from arw.v1.runtime_service_pb2_grpc import RuntimeServiceStub
from control_plane.process.descriptors import raise_limit
from tests.fakes.deaf_watchers import operator_channel
from tests.fakes.processes import ControlPlaneProcess


@dataclass(slots=True)
class LonePlane:
    """A control plane in a process of its own, without nodes, and its operator."""

    folder: Path
    process: ControlPlaneProcess
    channel: Any
    waits: list[float] = field(default_factory=list)
    """Seconds that the `others` waited for each read."""
    writes: list[float] = field(default_factory=list)
    turn: int = 0

    @property
    def seen(self) -> psutil.Process:
        assert self.process.process
        return psutil.Process(self.process.process.pid)

    @property
    def rss_kib(self) -> float:
        return float(self.seen.memory_info().rss / 1024)

    @property
    def ports(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self.folder / "control_plane" / "run.json").read_bytes())["ports"]
        return found

    @property
    def runtimes(self) -> Any:
        return RuntimeServiceStub(self.channel)

    async def declare(self, count: int, tags: int, stub: Any = None) -> None:
        """Runtimes with so many tags of a quarter KiB each, changed since the last time."""
        self.turn += 1
        tag = ", ".join(f'k{number} = "{self.turn:0250}"' for number in range(tags))
        entries = [
            f'[[runtimes]]\nid = "r{number}"\nadapter = "llama.cpp"\nmodel = "m"\nauto_start = false\n'
            f"tags = {{ {tag} }}\n"
            for number in range(count)
        ]
        request = ApplyManifestRequest(
            content=("version = 1\n" + "".join(entries)).encode(), format=MANIFEST_FORMAT_TOML, source="drill.toml"
        )
        await (stub or self.runtimes).ApplyManifest(request, timeout=60)

    @asynccontextmanager
    async def with_others(self) -> AsyncIterator[None]:
        """They are served while the block runs, or it fails."""
        task = asyncio.ensure_future(self._others())
        try:
            yield
            assert not task.done(), task.exception()
        finally:
            task.cancel()

    async def _others(self) -> None:
        """A client that reads and writes all the while."""
        while True:
            began = time.monotonic()
            await self.runtimes.GetRuntime(GetRuntimeRequest(name="runtimes/r0"), timeout=10)
            self.waits.append(time.monotonic() - began)
            began = time.monotonic()
            await self.declare(1, 1)
            self.writes.append(time.monotonic() - began)
            await asyncio.sleep(0.1)

    def cut(self) -> int:
        """Streams that were ended because nobody read them."""
        lines = (self.folder / "control-plane.log").read_text().splitlines()
        said = [json.loads(line) for line in lines if '"streams_not_read"' in line]
        return sum(int(line["streams"]) for line in said)


@asynccontextmanager
async def lone_plane() -> AsyncIterator[LonePlane]:
    raise_limit()
    with TemporaryDirectory(prefix="arw-drill-", ignore_cleanup_errors=True) as folder:
        process = ControlPlaneProcess(Path(folder))
        process.initialise()
        process.start()
        try:
            async with operator_channel(Path(folder) / "context.json") as channel:
                model = Model(path="/models/m.gguf", sha256="cd" * 32, size_bytes=1000, format="gguf")
                await ModelServiceStub(channel).CreateModel(CreateModelRequest(model_id="m", model=model))
                yield LonePlane(Path(folder), process, channel)
        finally:
            process.end()
