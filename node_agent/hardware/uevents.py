"""The kernel's word that a device or its driver came or went. Containers are not told."""

from __future__ import annotations

import socket

KOBJECT_UEVENT = 15
KERNEL = 1
"""The multicast group of the kernel itself; group 2 is udev's."""
MAX_EVENT = 1 << 16
BUSES = frozenset({"pci", "drm", "accel", "kfd"})
DRIVERS = frozenset({"nvidia", "amdgpu", "i915", "xe", "intel_vpu", "amdxdna", "qaic"})
TURNS = frozenset({"add", "remove", "bind", "unbind", "change"})


def listen() -> socket.socket | None:
    """None where the kernel does not offer it."""
    try:
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, KOBJECT_UEVENT)
        events.bind((0, KERNEL))
        events.setblocking(False)
    except (OSError, AttributeError):
        return None
    return events


def devices_turned(events: socket.socket) -> bool:
    """Take every event that waits; True when one of them concerns accelerators."""
    turned = False
    while True:
        try:
            turned |= concerns(events.recv(MAX_EVENT))
        except BlockingIOError:
            return turned
        except OSError:
            # The socket's buffer ran over: something happened, nobody knows what.
            return True


def concerns(event: bytes) -> bool:
    fields = dict(part.partition("=")[::2] for part in event.decode(errors="replace").split("\0")[1:])
    if fields.get("ACTION") not in TURNS:
        return False
    if fields.get("SUBSYSTEM") == "module":
        return fields.get("DEVPATH", "").rsplit("/", 1)[-1] in DRIVERS
    return fields.get("SUBSYSTEM") in BUSES
