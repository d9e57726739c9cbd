"""Refuses to supervise processes when starting one is not safe.

A grpcio with its fork handlers active makes a good part of forked children die by a signal before they run a line.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

from node_agent.domain.errors import SpawnFailed

CHILDREN = 20
TIMEOUT_S = 20.0


def check_spawning(children: int = CHILDREN, command: str = "true") -> None:
    """Spawn some children that do nothing; SpawnFailed when one does not end by itself.

    Blocks for some tens of milliseconds. Call it after grpc was imported and used.
    """
    program = shutil.which(command)
    if program is None:
        raise SpawnFailed(f"The program `{command}` was not found.", "Install the coreutils and put them on PATH.")
    running = [subprocess.Popen([program], stdin=subprocess.DEVNULL) for _ in range(children)]
    killed = [code for child in running if (code := child.wait(TIMEOUT_S)) < 0]
    if killed:
        name = signal.Signals(-killed[0]).name
        guard = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "unset")
        raise SpawnFailed(
            f"{len(killed)} of {children} child processes died by {name} before they ran, "
            f"so no engine could be started safely (GRPC_ENABLE_FORK_SUPPORT is {guard}).",
            "Start the agent with GRPC_ENABLE_FORK_SUPPORT=0 and without libraries that fork.",
        )
