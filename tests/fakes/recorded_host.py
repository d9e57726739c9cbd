"""A machine whose files and tool answers were written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from node_agent.hardware.host import ToolFailedError, ToolMissingError


@dataclass(slots=True)
class RecordedHost:
    root: Path
    system: str = "linux"
    answers: dict[str, str | ToolFailedError] = field(default_factory=dict)
    """By the start of the command line."""
    asked: list[str] = field(default_factory=list)

    def run(self, *command: str) -> str:
        line = " ".join(command)
        self.asked.append(line)
        for start, answer in self.answers.items():
            if line.startswith(start):
                if isinstance(answer, ToolFailedError):
                    raise answer
                return answer
        raise ToolMissingError(command[0])

    def has(self, **files: str) -> RecordedHost:
        """Files below the root; "__" in a name stands for "/"."""
        for name, content in files.items():
            self.file(name.replace("__", "/"), content)
        return self

    def file(self, path: str, content: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)

    def link(self, path: str, target: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)

    def pci(self, address: str, vendor: str, device: str, class_: str, driver: str = "") -> None:
        folder = f"sys/bus/pci/devices/{address}"
        for name, value in (("vendor", vendor), ("device", device), ("class", class_)):
            self.file(f"{folder}/{name}", f"0x{value}\n")
        if driver:
            self.link(f"{folder}/driver", f"../../../bus/pci/drivers/{driver}")

    def card(self, number: int, address: str, driver: str, **files: str) -> None:
        """A graphics card as /sys/class/drm shows it."""
        folder = f"sys/class/drm/card{number}/device"
        self.file(f"{folder}/uevent", f"DRIVER={driver}\nPCI_SLOT_NAME={address}\n")
        self.link(f"{folder}/driver", f"../../../../bus/pci/drivers/{driver}")
        for name, value in files.items():
            self.file(f"{folder}/{name.replace('__', '/')}", value)
