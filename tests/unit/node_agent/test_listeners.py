import os
import socket
import subprocess
import sys

from node_agent.runtimes.listeners import is_strangers

LISTEN = "import socket,sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"


def test_our_own_listener_is_no_stranger() -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        port = ours.getsockname()[1]
        assert not is_strangers(port, {os.getpid()})
        assert is_strangers(port, set())


def test_another_process_on_the_port_is_a_stranger() -> None:
    command = [sys.executable, "-c", LISTEN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert is_strangers(port, {os.getpid()})
        assert not is_strangers(port, {os.getpid(), other.pid})
        other.kill()


def test_a_port_where_nobody_listens_has_no_stranger() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert not is_strangers(bound.getsockname()[1], set())


def test_a_process_that_is_gone_holds_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert is_strangers(other.getsockname()[1], {2**22 + 1})
