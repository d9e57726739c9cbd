"""What can be wrong with a device, in words for a person."""

from __future__ import annotations

from node_agent.domain.status import Problem


def driver_missing(text: str, remedy: str) -> Problem:
    return Problem("ACCELERATOR_DRIVER_MISSING", text, remedy)


def unresponsive(what: str, how: str) -> Problem:
    return Problem(
        "ACCELERATOR_DRIVER_UNRESPONSIVE",
        f"The driver does not answer: {what} {how}.",
        "See the kernel's log on this node; if it persists, reload the driver or restart the machine.",
    )


def mismatch(text: str) -> Problem:
    return Problem(
        "ACCELERATOR_DRIVER_MISMATCH", text, "Restart the machine: its driver was updated while it was in use."
    )


def no_permission(text: str, remedy: str) -> Problem:
    return Problem("ACCELERATOR_NO_PERMISSION", text, remedy)


def lost(text: str) -> Problem:
    return Problem(
        "ACCELERATOR_LOST",
        text,
        "Restart the machine; if it is lost again, check its seat, power and cooling, or have it replaced.",
    )


def reset_required(text: str) -> Problem:
    return Problem(
        "ACCELERATOR_RESET_REQUIRED", text, "Stop what uses it and reset it (nvidia-smi --gpu-reset), or restart."
    )


def unhealthy(text: str, remedy: str) -> Problem:
    return Problem("ACCELERATOR_UNHEALTHY", text, remedy)


def reserved(text: str, remedy: str) -> Problem:
    return Problem("ACCELERATOR_RESERVED", text, remedy)
