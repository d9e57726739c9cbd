"""What the exit code of podman or docker says of the engine whose client it was."""

from __future__ import annotations

from dataclasses import replace

from node_agent.runtimes.records import ExitNote

TOOL_FAILED = 125
NOT_STARTED = {
    TOOL_FAILED: "the container tool failed; its words are the last lines of the log",
    126: "the image's program cannot be executed",
    127: "the image has no such program",
}
SIGNALLED = 128
"""And the signal's number: 137 is SIGKILL."""


def translated(note: ExitNote) -> ExitNote:
    code = note.exit_code or 0
    if code in NOT_STARTED:
        return replace(note, not_started=NOT_STARTED[code])
    return replace(note, exit_code=None, signal=code - SIGNALLED) if code > SIGNALLED else note
