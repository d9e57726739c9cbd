"""What the shim is told to do for one launch: the owner's word, filled in with what the engine needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from node_agent.domain.inventory import Engine
from node_agent.domain.limits import Limits
from node_agent.domain.sandbox import Sandbox
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.kinds.adapter import Endpoint, Traits
from node_agent.runtimes.records import SandboxRecord, WantedRecord
from node_agent.runtimes.sandbox import cgroup, confine, landlock, paths
from node_agent.runtimes.sandbox.layers import left_out
from node_agent.runtimes.sandbox.user import user_of

SEARCH = ("LD_LIBRARY_PATH", "GGML_BACKEND_PATH")
"""Of the agent's own environment: where its owner lets engines find libraries."""
IN_PARTS = "this kind of engine is several processes that meet on ports of their own choice"


@dataclass(frozen=True, slots=True)
class Start:
    """One launch, as far as its sandbox depends on it."""

    spec: InstanceSpec
    engine: Engine
    traits: Traits
    at: Endpoint
    home: InstanceDirectory


def sandbox_of(start: Start, limits: Limits) -> SandboxRecord:
    """Looks at files: call it in a thread."""
    wanted = limits.sandbox
    user, why = user_of(wanted)
    without = left_out(wanted)
    if start.traits.in_parts:
        without.setdefault(landlock.NETWORK, IN_PARTS)
    if user is None:
        without[confine.OWN_USER] = why
    rules = _rules(start, wanted)
    return SandboxRecord(
        WantedRecord(
            rules=rules,
            port=start.at.port,
            needed=_needed(start),
            without=without,
            user=user.name if user else "",
            uid=user.uid if user else 0,
            groups=user.groups if user else (),
        ),
        0 if cgroup.MEMORY in wanted.off else limits.memory_per_runtime_bytes or 0,
        0 if cgroup.PIDS in wanted.off else wanted.process_limit,
        wanted.required,
    )


def _rules(start: Start, wanted: Sandbox) -> dict[str, tuple[str, ...]]:
    files = [path for path, _ in start.engine.digests]
    search = [folder for name in SEARCH for folder in os.environ.get(name, "").split(":")]
    state = start.home.agent
    own = paths.engine_paths(start.engine.command[0], files, search, state)
    accelerated = start.spec.accelerator != "cpu" or start.traits.in_parts
    devices = (*paths.PLAIN_DEVICES, *(paths.ACCELERATORS if accelerated else ()))
    shared = paths.there(paths.SHARED_MEMORY) if accelerated else []
    return {
        "use": (*paths.there(paths.SYSTEM), *own, *wanted.use),
        "read": (*paths.there(paths.FACTS), *_models(start), str(start.at.key_file)),
        "change": (*_own(start), *shared, *wanted.write),
        "device": tuple(paths.there(devices)),
    }


def _own(start: Start) -> list[str]:
    """Where it may write: for itself, and what it keeps of prompts."""
    return [str(path) for path in (start.home.scratch, start.at.cache) if path is not None]


def _models(start: Start) -> list[str]:
    files = [file.path for file in (start.spec.model, start.spec.projector) if file is not None and file.path]
    return [path for file in files for path in paths.model_paths(file, whole_folder=start.traits.model_folder)]


def _needed(start: Start) -> tuple[tuple[str, int], ...]:
    read = [*(path for path, _ in start.engine.digests), *_models(start), str(start.at.key_file)]
    run = start.engine.command[0]
    return (
        (run, os.R_OK | os.X_OK),
        *((str(program), os.X_OK) for program in paths.interpreter(Path(run))),
        *((path, os.R_OK) for path in read),
        *((path, os.R_OK | os.W_OK | os.X_OK) for path in _own(start)),
    )
