"""The gateway's end of one node's relay, asking one instance again and again."""

from __future__ import annotations

import asyncio
import json
import ssl
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from node_agent.domain.spec import InstanceName
from node_agent.relay.link import RelayLink
from node_agent.runtimes.supervisor import LocalSupervisor
from tests.fakes.data_path import Replica

HEAD = (
    "POST /v1/chat/completions HTTP/1.1\r\nhost: relay\r\nx-arw-instance: {}\r\nx-arw-claim: system\r\n"
    "x-arw-fence: 1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n"
)
LAST = b"0\r\n\r\n"


class LoneGateway:
    def __init__(self, instance: InstanceName, question: dict[str, Any]) -> None:
        body = json.dumps(question).encode()
        self._request = HEAD.format(instance, len(body)).encode() + body
        self.parked: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.answers: Counter[str] = Counter()
        self._ends: list[asyncio.StreamWriter] = []
        self._came = asyncio.Event()

    async def park(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.append(writer)
        await reader.readline()
        self.parked.put_nowait((reader, writer))

    async def ask(self) -> None:
        """One streamed answer, counted by how it ended; the node parks another connection for the next one."""
        reader, writer = await self.parked.get()
        writer.write(self._request)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            status = head.split()[1].decode()
            if b"content-length" not in head.lower():
                await reader.readuntil(LAST)
            self.answers[status] += 1
            writer.close()
        except (asyncio.IncompleteReadError, OSError):
            self.answers["broken"] += 1
        self._came.set()

    async def answered(self, more: int) -> None:
        """Returns once so many more were."""
        until = self.answers.total() + more
        while self.answers.total() < until:
            self._came.clear()
            await self._came.wait()

    def close(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def ask_on(self) -> None:
        while True:
            await self.ask()


@asynccontextmanager
async def asking(
    supervisor: LocalSupervisor, instance: InstanceName, question: dict[str, Any], at_once: int
) -> AsyncIterator[LoneGateway]:
    """So many requests at once, one after the other, for as long as the block lasts."""
    gateway, link = LoneGateway(instance, question), RelayLink(supervisor, "n", no_tls)
    supervisor.before_stop(link.close_instance)
    supervisor.ask_for_traffic(link.traffic)
    with tempfile.TemporaryDirectory(prefix="arw-") as folder:
        path = str(Path(folder) / "relay.sock")
        server = await asyncio.start_unix_server(gateway.park, path)
        link.configure(1, [Replica("", path)], at_once)
        running = [asyncio.create_task(link.run())]
        running += [asyncio.create_task(gateway.ask_on()) for _ in range(at_once)]
        try:
            yield gateway
        finally:
            for task in running[::-1]:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            server.close()
            gateway.close()


def no_tls() -> ssl.SSLContext:
    raise AssertionError("a Unix socket needs no TLS")
