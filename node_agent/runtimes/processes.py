"""Which processes are one engine's, native or in a container."""

from __future__ import annotations

from node_agent.runtimes.containers.attendant import Attendance
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.footprints import family
from node_agent.runtimes.launcher import Running
from node_agent.runtimes.tree import Tree, holds_lock


class EngineProcesses:
    def __init__(self, home: InstanceDirectory, running: Running, beside: Attendance) -> None:
        self._home = home
        self._running = running
        self._beside = beside

    def all(self) -> set[int]:
        """Dear: it looks through every process of the machine."""
        return Tree(self._home, self._running.record).members() | self._beside.pids()

    def measured(self) -> set[int]:
        """Those whose memory is the engine's: the client of a container tool is not among them."""
        engine = self._running.record.engine_pid
        parent = self._running.record.shim_pid if self._running.shim is not None else engine
        return self._beside.pids() or {engine, *family(parent)}

    def owns(self, pid: int) -> bool:
        contained = self._beside.pids()
        if contained:
            return pid in contained
        return pid == self._running.record.engine_pid or holds_lock(pid, self._home.lock)
