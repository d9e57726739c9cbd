"""Run by path in a child of its own: a driver that hangs or crashes takes only the child with it.

Writes one JSON list of GPUs to standard output; an empty one when there is no driver or no library.
"""

from __future__ import annotations

import json
import sys

import pynvml


def main() -> int:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        sys.stderr.write(f"{error}\n")
        sys.stdout.write("[]")
        return 0
    count = pynvml.nvmlDeviceGetCount()
    sys.stdout.write(json.dumps([device for index in range(count) if (device := _device(index)) is not None]))
    return 0


def _device(index: int) -> dict[str, object] | None:
    """None for a device that fell off the bus: the others still count."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        return {
            "id": _text(pynvml.nvmlDeviceGetUUID(handle)),
            "display_name": _text(pynvml.nvmlDeviceGetName(handle)),
            "memory_bytes": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            "driver_version": _text(pynvml.nvmlSystemGetDriverVersion()),
        }
    except pynvml.NVMLError as error:
        sys.stderr.write(f"device {index}: {error}\n")
        return None


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


if __name__ == "__main__":
    sys.exit(main())
