"""What this machine has."""

from __future__ import annotations

import socket

import psutil

from tests.smoke.choice import Facts
from tests.smoke.settings import Settings

CHECKLIST = """\
To run against real weights:
  1. Get a GGUF file; for a model behind a login, make a read token at its hub first.
  2. Name it, and if you have one a llama-server binary (otherwise the wheel of arw[llama] serves):
       MODE=real LLAMA_MODEL_PATH=/path/to/model.gguf [LLAMA_SERVER_BIN=/path/to/llama-server] make runtime-smoke
  3. MODE=gpu asks for a GPU; LLAMA_GPU_SIMULATE=1 simulates one, LLAMA_GPU_REQUIRE_REAL=1 never does.
Nothing is downloaded by this program."""


def gather(settings: Settings) -> Facts:
    size = settings.model.stat().st_size if settings.model and settings.model.is_file() else None
    return Facts(loopback_works(), psutil.virtual_memory().available, size)


def loopback_works() -> bool:
    """Whether a byte gets from one loopback socket to another."""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=2) as near,
            server.accept()[0] as far,
        ):
            near.sendall(b"x")
            return far.recv(1) == b"x"
    except OSError:
        return False
