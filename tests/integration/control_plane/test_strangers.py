"""The enrolment port when a stranger, at 127.0.0.2, takes its time. Honest machines call from 127.0.0.1."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from arw.v1.enrollment_service_pb2 import EnrollRequest
from tests.fakes.patience import SLACK
from tests.fakes.raw_http2 import DATA, SETTINGS, RawConnection, call_head, frame, grpc_message, opening
from tests.fakes.running_plane import RunningPlane
from tests.fakes.scripted_agent import enrol
from wire.channel import secure_channel
from wire.error_status import refusal_of

ENROLL = "/arw.v1.EnrollmentService/Enroll"
STRANGER = "127.0.0.2"


def strangers_tls(plane: RunningPlane) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=plane.context["ca_pem"])
    context.set_alpn_protocols(["h2"])
    return context


@asynccontextmanager
async def half_calls(plane: RunningPlane, connections: int) -> AsyncIterator[None]:
    """As many connections of a stranger as get in, each with four calls that never say what they want."""
    tls, held = strangers_tls(plane), list[RawConnection]()

    async def knock() -> None:
        connection = await RawConnection.open(plane.ports["enrollment"], tls, STRANGER)
        held.append(connection)
        await connection.send(opening() + b"".join(call_head(ENROLL, stream) for stream in (1, 3, 5, 7)))

    async with asyncio.TaskGroup() as group:
        knocking = [group.create_task(knock()) for _ in range(connections)]
        async with asyncio.timeout(5 * SLACK):
            while len(held) < min(connections, 16):
                await asyncio.wait(knocking, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
        yield
        for task in knocking:
            task.cancel()
    for connection in held:
        connection.close()


async def joined_as(plane: RunningPlane, wish: str) -> str:
    answer, _ = await enrol(plane.address("enrollment"), plane.ca_pem, await plane.token(), wish)
    return str(answer.node)


async def test_an_honest_machine_joins_while_a_stranger_holds_all_that_one_address_may(plane: RunningPlane) -> None:
    async with half_calls(plane, 40):
        began = time.monotonic()
        assert await joined_as(plane, "n1") == "nodes/n1"
        assert time.monotonic() - began < 2


async def test_a_call_that_says_nothing_is_refused_in_time_and_told_why(plane: RunningPlane) -> None:
    credentials = grpc.ssl_channel_credentials(plane.ca_pem)
    async with secure_channel(plane.address("enrollment"), credentials) as channel:
        mute: Any = channel.stream_unary(ENROLL)
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await mute()
    refusal = refusal_of(caught.value)
    assert (refusal.remote_reason, refusal.remedy) == ("PROTOCOL_VIOLATION", "Try again.")
    assert time.monotonic() - began < 3 * SLACK


@pytest.mark.parametrize("calls", [0, 1])
async def test_a_connection_that_wants_nothing_more_is_closed(plane: RunningPlane, calls: int) -> None:
    connection = await RawConnection.open(plane.ports["enrollment"], strangers_tls(plane), STRANGER)
    await connection.send(opening() + call_head(ENROLL, 1) * calls)
    _, closed = await connection.rest(8 * SLACK)
    connection.close()
    assert closed


async def test_sixty_machines_behind_one_address_join_at_once(plane: RunningPlane) -> None:
    names = [f"n{number}" for number in range(60)]
    nodes = await asyncio.gather(*(joined_as(plane, name) for name in names))
    assert nodes == [f"nodes/{name}" for name in names]


async def test_a_stranger_that_guesses_is_turned_away_and_no_other_address_with_it(plane: RunningPlane) -> None:
    guess = frame(DATA, grpc_message(EnrollRequest(join_token="no.such").SerializeToString()), flags=1)
    connection = await RawConnection.open(plane.ports["enrollment"], strangers_tls(plane), STRANGER)
    await connection.send(opening() + frame(SETTINGS, flags=1))
    answers = []
    for stream in range(1, 13, 2):
        await connection.send(call_head(ENROLL, stream) + guess[:5] + stream.to_bytes(4, "big") + guess[9:])
        answers.append((await connection.rest(0.3))[0])
    connection.close()
    assert [b"Too many failed tries" in answer for answer in answers] == [False] * 5 + [True]
    assert await joined_as(plane, "n1") == "nodes/n1"
