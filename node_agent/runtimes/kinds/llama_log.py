"""Reads why a llama-server ended, and what it uses, from its log."""

from __future__ import annotations

import re
from collections.abc import Sequence

from node_agent.domain.status import Problem
from node_agent.runtimes.kinds.adapter import Finding
from node_agent.runtimes.kinds.llama_help import kind_of

NO_MEMORY = (
    "out of memory",
    "cudamalloc failed",
    "hipmalloc failed",
    "failed to allocate",
    "out of device memory",
    "vk_error_out_of_device_memory",
    "std::bad_alloc",
)
NO_PORT = ("couldn't bind http server socket",)
BAD_ARGUMENT = (
    "error: invalid argument:",
    "error while handling argument",
    "error while handling environment variable",
)
NO_FILE = ("failed to open gguf file",)
BAD_FILE = (
    "invalid magic characters",
    "unknown model architecture",
    "is not within the file bounds",
    "error loading model",
    "exiting due to model loading error",
)
OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
USING = re.compile(r"using device (\S+) \((.*)\) \((\S+)\)")


def classify(log: Sequence[str]) -> Finding | None:
    """The most telling line wins: what is short (memory, port) before what only follows from it."""
    for marks, build in (
        (NO_MEMORY, _no_memory),
        (NO_PORT, _no_port),
        (BAD_ARGUMENT, _bad_argument),
        (NO_FILE, _no_file),
        (BAD_FILE, _bad_file),
    ):
        line = _first(log, marks)
        if line is not None:
            return build(line)
    return None


def port_was_taken(log: Sequence[str]) -> bool:
    return _first(log, NO_PORT) is not None


def offloaded(log: Sequence[str]) -> tuple[str, str] | None:
    """(accelerator kind, description) when layers lie on a device; None when the log tells of none."""
    text = "\n".join(log)
    layers, device = OFFLOADED.search(text), USING.search(text)
    if layers is None or device is None or int(layers[1]) == 0:
        return None
    return kind_of(device[1]), f"{device[2]}, {layers[1]} of {layers[2]} layers"


def _first(log: Sequence[str], marks: Sequence[str]) -> str | None:
    return next((line.strip() for line in log if any(mark in line.lower() for mark in marks)), None)


def _no_memory(line: str) -> Finding:
    remedy = "Use a smaller model, fewer slots or a shorter context, or free memory on this node."
    return Finding(Problem("MEMORY_INSUFFICIENT", "The engine ran out of memory.", remedy, {"line": line}))


def _no_port(line: str) -> Finding:
    text = "The engine could not listen on the port that it was given."
    return Finding(Problem("PORT_UNAVAILABLE", text, "It is started again with another port.", {"line": line}))


def _bad_argument(line: str) -> Finding:
    remedy = "Change the runtime's settings, or use another version of the engine."
    text = "The engine refused one of its options."
    return Finding(Problem("ENGINE_FLAG_UNKNOWN", text, remedy, {"line": line}), hopeless=True)


def _no_file(line: str) -> Finding:
    remedy = "Put the file back where the model was added from, or add the model again."
    return Finding(Problem("MODEL_FILE_MISSING", "The engine could not open the model file.", remedy, {"line": line}))


def _bad_file(line: str) -> Finding:
    remedy = "Download or convert the model again, or use an engine that knows its architecture."
    text = "The engine could not load the model file."
    return Finding(Problem("MODEL_FILE_INVALID", text, remedy, {"line": line}), hopeless=True)
