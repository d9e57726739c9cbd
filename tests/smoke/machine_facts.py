"""What this machine has."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil

from tests.smoke.choice import Facts
from tests.smoke.settings import Settings

CHECKLIST = """\
To run against real weights:
  1. Get a GGUF file; for a model behind a login, make a read token at its hub first.
  2. Name it, and if you have one a llama-server binary (otherwise the wheel of arw[llama] serves):
       MODE=real LLAMA_MODEL_PATH=/path/to/model.gguf [LLAMA_SERVER_BIN=/path/to/llama-server] make runtime-smoke
  3. MODE=gpu asks for a GPU; LLAMA_GPU_SIMULATE=1 simulates one, LLAMA_GPU_REQUIRE_REAL=1 never does.
For pictures (ARW_SMOKE_MODE=vision, or make runtime-smoke-vision):
  1. It needs a real engine: install arw[llama], or set LLAMA_SERVER_BIN. A tiny model is made on the spot.
  2. Real weights come in two files, the model and its projector (mmproj):
       MODE=real LLAMA_MODEL_PATH=/path/to/model.gguf LLAMA_MMPROJ_PATH=/path/to/mmproj.gguf make runtime-smoke-vision
  3. ARW_SERVER_BIN=/path/to/arw-control-plane takes another build, with the arwctl beside it;
     VISION_SMOKE_ROOT is where it works, .smoke/vision unless said otherwise.
Nothing is downloaded by this program."""


def gather(settings: Settings) -> Facts:
    return Facts(
        loopback_works(),
        psutil.virtual_memory().available,
        _size(settings.model),
        _size(settings.projector),
        tuple(_lacks(settings)),
    )


def _size(file: Path | None) -> int | None:
    return file.stat().st_size if file and file.is_file() else None


def _lacks(settings: Settings) -> Iterator[str]:
    if settings.engine is None and find_spec("xllamacpp") is None:
        yield "no llama.cpp: install arw[llama], or set LLAMA_SERVER_BIN"
    if settings.engine is not None and not settings.engine.is_file():
        yield f"LLAMA_SERVER_BIN is {settings.engine}, and there is no such file"
    if settings.server is not None and not settings.server.with_name("arwctl").is_file():
        yield f"ARW_SERVER_BIN is {settings.server}, and no arwctl lies beside it"


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
