"""Reads from an engine's log why it ended, and whether another try is worth it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from node_agent.domain.status import Problem
from node_agent.runtimes.kinds.adapter import Finding

NO_MEMORY = (
    "out of memory",
    "outofmemoryerror",
    "cudamalloc failed",
    "hipmalloc failed",
    "failed to allocate",
    "out of device memory",
    "vk_error_out_of_device_memory",
    "std::bad_alloc",
    "memoryerror",
)
NO_PORT = ("couldn't bind http server socket", "address already in use", "errno 98")
BAD_ARGUMENT = (
    "error: invalid argument:",
    "error while handling argument",
    "error while handling environment variable",
    "unrecognized arguments:",
    "unknown argument:",
)
NO_FILE = ("failed to open gguf file",)
BAD_FILE = (
    "invalid magic characters",
    "unknown model architecture",
    "is not within the file bounds",
    "error loading model",
    "exiting due to model loading error",
)

Marks = Sequence[tuple[Sequence[str], Callable[[str], Finding]]]
"""Words, in lower case, that give a finding away; the most telling first."""


def classify(log: Sequence[str], marks: Marks) -> Finding | None:
    """The most telling line wins: what is short (memory, port) before what only follows from it."""
    for words, build in marks:
        line = _first(log, words)
        if line is not None:
            return build(line)
    return None


def port_was_taken(log: Sequence[str]) -> bool:
    return _first(log, NO_PORT) is not None


def _first(log: Sequence[str], words: Sequence[str]) -> str | None:
    return next((line.strip() for line in log if any(word in line.lower() for word in words)), None)


def no_memory(line: str) -> Finding:
    remedy = "Use a smaller model, fewer slots or a shorter context, or free memory on this node."
    return Finding(Problem("MEMORY_INSUFFICIENT", "The engine ran out of memory.", remedy, {"line": line}))


def no_port(line: str) -> Finding:
    text = "The engine could not listen on the port that it was given."
    return Finding(Problem("PORT_UNAVAILABLE", text, "It is started again with another port.", {"line": line}))


def bad_argument(line: str) -> Finding:
    remedy = "Change the runtime's settings, or use another version of the engine."
    text = "The engine refused one of its options."
    return Finding(Problem("ENGINE_FLAG_UNKNOWN", text, remedy, {"line": line}), hopeless=True)


def no_file(line: str) -> Finding:
    remedy = "Put the file back where the model was added from, or add the model again."
    return Finding(Problem("MODEL_FILE_MISSING", "The engine could not open the model file.", remedy, {"line": line}))


def bad_file(line: str) -> Finding:
    remedy = "Download or convert the model again, or use an engine that knows its architecture."
    text = "The engine could not load the model file."
    return Finding(Problem("MODEL_FILE_INVALID", text, remedy, {"line": line}), hopeless=True)


MARKS: Marks = (
    (NO_MEMORY, no_memory),
    (NO_PORT, no_port),
    (BAD_ARGUMENT, bad_argument),
    (NO_FILE, no_file),
    (BAD_FILE, bad_file),
)
