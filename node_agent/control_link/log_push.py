"""Sends an engine's log to a control plane that asked for it, until either side has enough."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import grpc
import structlog

from arw.v1 import agent_service_pb2, agent_service_pb2_grpc
from node_agent.control_link.messages import LogRequest
from node_agent.use_cases.ports import LogChunk, Logs

AHEAD = 2
"""Chunks read before the control plane has room for them."""

Messages = asyncio.Queue[agent_service_pb2.PushLogsRequest | None]
"""None: there is no more."""

_log = structlog.get_logger()


async def push_logs(stub: agent_service_pb2_grpc.AgentServiceAsyncStub, logs: Logs, request: LogRequest) -> None:
    """Ends with the log, or as soon as the control plane ends the call. A lost connection is no error here."""
    queue: Messages = asyncio.Queue(AHEAD)
    call = stub.PushLogs(_taken(queue))
    try:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(_read(queue, logs, request))
            await _over(call, request.subscription)
            reading.cancel()
    finally:
        call.cancel()
        _close(queue)


async def _read(queue: Messages, logs: Logs, request: LogRequest) -> None:
    await queue.put(agent_service_pb2.PushLogsRequest(subscription=request.subscription))
    wanted = request.instance
    chunks = logs.whole(wanted) if request.whole else logs.read(wanted, request.tail_lines, request.follow)
    async for chunk in chunks:
        await queue.put(_to_proto(chunk))
    await queue.put(None)


async def _taken(queue: Messages) -> AsyncIterator[agent_service_pb2.PushLogsRequest]:
    while (message := await queue.get()) is not None:
        yield message


async def _over(call: Awaitable[agent_service_pb2.PushLogsResponse], subscription: str) -> None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        _log.info("log_push_ended", subscription=subscription, code=error.code().name)


def _close(queue: Messages) -> None:
    """Let go of grpc's task that waits for the next message."""
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)


def _to_proto(chunk: LogChunk) -> agent_service_pb2.PushLogsRequest:
    return agent_service_pb2.PushLogsRequest(
        incarnation=chunk.incarnation, data=chunk.data, dropped_bytes=chunk.dropped_bytes
    )
