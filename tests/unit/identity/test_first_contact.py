from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node_agent.domain.errors import JoinFailed
from node_agent.identity.first_contact import pinned_ca
from tests.fakes.certificates import Issuer


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[bytes]]]:
    """A server for one connection; what it was sent, beyond any handshake, is collected."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            plain, _ = server.accept()
            with plain:
                answer(plain)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], received
        finally:
            thread.join(5)


def tls(issuer: Issuer, directory: Path, seen: list[bytes]) -> Callable[[socket.socket], None]:
    key, chain = issuer.server()
    (directory / "key").write_bytes(key)
    (directory / "chain").write_bytes(chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "chain", directory / "key")

    def answer(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as secure:
            try:
                seen.append(secure.recv(100))
            except (ConnectionResetError, ssl.SSLError):
                seen.append(b"")

    return answer


def test_the_pinned_authority_is_found_in_the_chain(issuer: Issuer, tmp_path: Path) -> None:
    with listening(tls(issuer, tmp_path, [])) as (port, _):
        assert pinned_ca("127.0.0.1", port, issuer.pin) == issuer.ca_pem


def test_a_stranger_is_refused_with_both_fingerprints_and_told_nothing(issuer: Issuer, tmp_path: Path) -> None:
    stranger, seen = Issuer.make(), list[bytes]()
    with listening(tls(stranger, tmp_path, seen)) as (port, _), pytest.raises(JoinFailed) as refused:
        pinned_ca("127.0.0.1", port, issuer.pin)
    assert issuer.pin in refused.value.text
    assert stranger.pin in refused.value.text
    assert seen == [b""]


def test_a_server_without_tls_is_named_so() -> None:
    def plain_http(plain: socket.socket) -> None:
        plain.recv(1000)
        plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listening(plain_http) as (port, _), pytest.raises(JoinFailed, match="does not speak TLS"):
        pinned_ca("127.0.0.1", port, "a" * 52)


def test_an_address_where_nobody_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(JoinFailed, match=f"No control plane answers at 127.0.0.1:{port}"):
        pinned_ca("127.0.0.1", port, "a" * 52)
