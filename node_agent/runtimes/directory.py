"""The directory of an instance: the contract between this agent, the shim and the next agent."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from node_agent.domain.observed import launch_key as key_of
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.runtimes.records import ExitNote, KeptSlots, LaunchRecord, RunRecord, StateRecord
from wire.atomic_file import write_atomically

MAX_RECORD_BYTES = 1 << 20
OPEN_TO_OTHERS = 0o067
"""All but the search that a group may do on its way to what was lent to it."""
Record = TypeVar("Record", LaunchRecord, RunRecord, ExitNote, StateRecord, KeptSlots, InstanceSpec)
NAMES = {
    LaunchRecord: "launch.json",
    StateRecord: "state.json",
    KeptSlots: "slots.json",
    InstanceSpec: "spec.json",
}
"""Of what the agent writes."""


class ForeignFileError(Exception):
    """A file or directory that is not ours alone: a link, another's, or open to others."""


class InstanceDirectory:
    """Reads nothing through links, and nothing that another user could have written.

    It is the first of two berths: what succeeds a running launch gets the other one, and keeps it. Of both, state.json
    and the logs lie here.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, instances: Path, name: InstanceName) -> InstanceDirectory:
        return cls(instances / name.rpartition("/")[2])

    def prepare(self) -> None:
        """Make it, for this user alone. ForeignFileError when something else is there."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        self.check()
        self.scratch.mkdir(mode=0o700, exist_ok=True)

    def check(self) -> None:
        seen = self.path.lstat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & OPEN_TO_OTHERS:
            raise ForeignFileError(f"{self.path} is not a directory of this user alone")

    def is_named(self) -> bool:
        """Whether it is an instance's own directory: it says a name, and lies where that name belongs."""
        try:
            self.check()
        except (OSError, ForeignFileError):
            return False
        return self.state().name.rpartition("/")[2] == self.path.name

    def berth(self, *, beside: bool) -> InstanceDirectory:
        return SecondBerth(self.path / "beside") if beside else self

    def current(self) -> InstanceDirectory:
        """Where the last launch lies."""
        return self.berth(beside=self.state().beside)

    def berths(self) -> Sequence[InstanceDirectory]:
        return (self, self.berth(beside=True))

    @property
    def logs(self) -> Path:
        return self.path

    @property
    def agent(self) -> Path:
        """The agent's own state directory."""
        return self.path.parents[1]

    @property
    def scratch(self) -> Path:
        return self.path / "tmp"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def lock_is_free(self) -> bool:
        """Whether nothing of an earlier launch runs: the lock is inherited by the whole tree of an engine."""
        try:
            handle = os.open(self.lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            # Closing alone would leave it to a child that another thread forks at this moment.
            fcntl.flock(handle, fcntl.LOCK_UN)
            return True
        finally:
            os.close(handle)

    @property
    def key_file(self) -> Path:
        return self.path / "api.key"

    def cgroup_leaf(self, incarnation: int) -> str:
        """Name of the launch's cgroup: also how a forged run.json is told from a true one."""
        tag = hashlib.sha256(str(self.path.absolute()).encode()).hexdigest()[:12]
        return f"arw-{tag}-{incarnation}"

    def launch(self) -> LaunchRecord | None:
        return self._read("launch.json", LaunchRecord)

    def run(self) -> RunRecord | None:
        return self._read("run.json", RunRecord)

    def exit(self) -> ExitNote | None:
        return self._read("exit.json", ExitNote)

    def state(self) -> StateRecord:
        return self._read("state.json", StateRecord) or StateRecord()

    def spec(self, launch_key: str) -> InstanceSpec | None:
        """What the launch with this key was made from; None: it is not recorded, or is another's."""
        found = self._read("spec.json", InstanceSpec)
        return found if found is not None and key_of(found) == launch_key else None

    def kept_slots(self) -> KeptSlots | None:
        return self._read("slots.json", KeptSlots)

    def forget_slots(self) -> None:
        (self.path / "slots.json").unlink(missing_ok=True)

    def save(self, record: LaunchRecord | StateRecord | KeptSlots | InstanceSpec) -> None:
        """Durable when it returns; OSError when the disk is full or read-only."""
        write_atomically(self.path / NAMES[type(record)], msgspec.json.encode(record))

    def new_key(self) -> str:
        """A fresh secret for one launch, in a file that only this user reads."""
        key = secrets.token_urlsafe(32)
        write_atomically(self.key_file, f"{key}\n".encode())
        return key

    def lend(self, uid: int, groups: Sequence[int]) -> None:
        """Let another user, when there is one, reach the key to read it and the scratch directory to write there."""
        if not uid:
            return
        for folder in (self.agent, *self._between(), self.path):
            os.chown(folder, -1, groups[0])
            folder.chmod(0o710)
        os.chown(self.key_file, -1, groups[0])
        self.key_file.chmod(0o640)
        os.chown(self.scratch, uid, groups[0])

    def give(self, uid: int, gid: int) -> None:
        """Hand the key and the scratch directory to another user, who comes by them without the folders above."""
        os.chown(self.key_file, -1, gid)
        self.key_file.chmod(0o640)
        os.chown(self.scratch, uid, gid)

    def key(self) -> str:
        content = self._bytes(self.key_file)
        return content.decode("ascii", errors="replace").strip() if content else ""

    def _between(self) -> Sequence[Path]:
        return (self.path.parent,)

    def clear_launch(self) -> None:
        for name in ("run.json", "exit.json"):
            (self.path / name).unlink(missing_ok=True)

    def vacate(self) -> None:
        """Forget the launch in this berth. The launch record goes first: without it a late shim starts nothing."""
        for name in ("launch.json", "spec.json", "run.json", "exit.json", self.key_file.name):
            (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.path)

    def _read(self, name: str, kind: type[Record]) -> Record | None:
        content = self._bytes(self.path / name)
        try:
            return msgspec.json.decode(content, type=kind) if content else None
        except msgspec.DecodeError:
            return None

    @staticmethod
    def _bytes(path: Path) -> bytes | None:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with os.fdopen(handle, "rb") as file:
            seen = os.fstat(handle)
            ours = stat.S_ISREG(seen.st_mode) and seen.st_uid == os.geteuid() and not seen.st_mode & 0o022
            return file.read(MAX_RECORD_BYTES) if ours else None


class SecondBerth(InstanceDirectory):
    @property
    def logs(self) -> Path:
        return self.path.parent

    @property
    def agent(self) -> Path:
        return self.path.parents[2]

    def _between(self) -> Sequence[Path]:
        return (self.path.parents[1], self.path.parent)


def homes(instances: Path) -> list[InstanceDirectory]:
    """Every instance's own directory below `instances`, which may not exist yet."""
    found = [InstanceDirectory(path) for path in sorted(instances.iterdir())] if instances.is_dir() else []
    return [home for home in found if home.is_named()]
