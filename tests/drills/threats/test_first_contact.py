"""Who gets in by a join token, and whom a joining machine believes."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from arw.v1.node_service_pb2 import ListNodesRequest
from tests.fakes.certificates import Issuer
from tests.fakes.processes import AgentProcess
from tests.fakes.running_plane import RunningPlane
from tests.fakes.scripted_agent import Credentials, enrol
from wire.credentials import pin
from wire.error_status import refusal_of

pytestmark = pytest.mark.timeout(90)


async def joined(plane: RunningPlane, token: str, wish: str) -> str:
    """The node that the token made, or the reason against it."""
    try:
        answer, _ = await enrol(plane.address("enrollment"), plane.ca_pem, token, wish)
    except grpc.aio.AioRpcError as error:
        return refusal_of(error).remote_reason
    return str(answer.node)


async def nodes(plane: RunningPlane) -> list[str]:
    return [node.name for node in (await plane.nodes.ListNodes(ListNodesRequest())).nodes]


async def test_t1_a_stolen_token_is_good_once_for_its_own_name_and_not_for_long(plane: RunningPlane) -> None:
    bound = await plane.token(node_id="n1")
    assert await joined(plane, bound, "other") == "nodes/n1"
    assert await joined(plane, bound, "other") == "TOKEN_USED"

    late = await plane.token(ttl=Duration(nanos=1_000_000))
    await asyncio.sleep(0.01)
    assert await joined(plane, late, "n2") == "TOKEN_EXPIRED"

    held = await plane.token(requires_approval=True)
    waiting, _ = await enrol(plane.address("enrollment"), plane.ca_pem, held, "n3")
    assert not waiting.certificate_chain
    assert await nodes(plane) == ["nodes/n1", "nodes/n3"]


async def test_t2_of_thirty_machines_with_one_token_exactly_one_joins(plane: RunningPlane) -> None:
    token = await plane.token()
    answers = await asyncio.gather(*(joined(plane, token, f"n{who}") for who in range(30)))
    assert sum(answer.startswith("nodes/") for answer in answers) == 1
    assert {answer for answer in answers if not answer.startswith("nodes/")} <= {"TOKEN_USED", "RATE_LIMITED"}
    assert len(await nodes(plane)) == 1


class Impostor:
    """Shows a chain at the first contact, and keeps every byte that is said to it inside TLS."""

    def __init__(self, key: bytes, chain: bytes, folder: Path) -> None:
        (folder / "impostor.key").write_bytes(key)
        (folder / "impostor.pem").write_bytes(chain)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "impostor.pem", folder / "impostor.key")
        self._context.set_alpn_protocols(["h2"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.contacts = 0
        self.heard = b""

    @contextmanager
    def listening(self) -> Iterator[Impostor]:
        thread = threading.Thread(target=self._serve)
        thread.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.contacts += 1
            self._listen_to(connection)

    def _listen_to(self, connection: socket.socket) -> None:
        connection.settimeout(2)
        try:
            with self._context.wrap_socket(connection, server_side=True) as secure:
                while data := secure.recv(65536):
                    self.heard += data
        except OSError:
            return


def refused_by_joiner(folder: Path, impostor: Impostor, token: str) -> str:
    """What `join` says at the impostor; nothing of the token was told, and nothing was kept."""
    agent = AgentProcess(folder)
    with impostor.listening():
        answer = agent.join(impostor.address, token)
    assert answer.returncode == 2
    assert impostor.contacts
    assert token.split(".")[1].encode() not in impostor.heard
    assert not (folder / "node_agent" / "node.key").exists()
    return answer.stderr


async def test_t3_a_man_in_the_middle_is_named_with_both_fingerprints_and_told_nothing(
    plane: RunningPlane, tmp_path: Path
) -> None:
    stranger, token = Issuer.make(), await plane.token()
    impostor = Impostor(*stranger.server(), tmp_path)
    said = await asyncio.to_thread(refused_by_joiner, tmp_path, impostor, token)
    assert token.split(".")[2] in said
    assert pin(stranger.certificate) in said
    assert impostor.heard == b""
    assert await joined(plane, token, "n1") == "nodes/n1"


async def test_t4_who_holds_a_token_and_a_nodes_certificate_is_no_control_plane(
    plane: RunningPlane, tmp_path: Path
) -> None:
    """An admitted node shows the right CA and can prove its own key, yet its certificate carries another name."""
    thief: Credentials = await plane.join("thief")
    token = await plane.token()
    impostor = Impostor(thief.key, thief.chain + thief.ca, tmp_path)
    said = await asyncio.to_thread(refused_by_joiner, tmp_path, impostor, token)
    assert re.search("certificate|prove|between", said), said
    assert await joined(plane, token, "n1") == "nodes/n1"
