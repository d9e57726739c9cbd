"""Where an identity lives: a copy of its directory has another place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from wire.machine_id import lasting_machine_id_hash


@dataclass(frozen=True, slots=True)
class Place:
    machine: str
    """Hash of the machine's own id; empty where it has none."""
    path: str
    """Absolute, without links."""
    directory: str
    """Device and inode: renaming keeps them, copying does not."""

    @classmethod
    def of(cls, directory: Path) -> Self:
        seen = directory.stat()
        return cls(lasting_machine_id_hash(), str(directory.resolve()), f"{seen.st_dev}:{seen.st_ino}")

    def on_machine_of(self, other: Place) -> bool:
        """A machine without an id is taken for the same."""
        return not (self.machine and other.machine) or self.machine == other.machine

    def continues(self, former: Place) -> bool:
        """Whether what lies here is what lay there: renamed, or put back from a backup under the same path."""
        return self.on_machine_of(former) and (self.path == former.path or self.directory == former.directory)
