"""What each command of the agent does; `app` holds what `run` serves."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from node_agent import app
from node_agent.control_link.fork_check import check_spawning
from node_agent.disk.database import Database
from node_agent.disk.digests import DiskDigests
from node_agent.domain.errors import AdapterUnknown, StorageUnavailable
from node_agent.domain.inventory import Engine
from node_agent.identity.enrolment import Joining
from node_agent.identity.enrolment import join as enrol
from node_agent.identity.files import IdentityFiles
from node_agent.identity.join_token import JoinToken
from node_agent.running_agent import end, locked, recorded, sole_agent
from node_agent.runtimes import assembly
from node_agent.runtimes.engines import LLAMA_CPP, candidate
from node_agent.runtimes.shutdown import stop_everything
from node_agent.runtimes.trust import trust as trust_one
from node_agent.runtimes.trust import trust_found
from node_agent.settings import Settings, StateDirectory
from node_agent.status_report import as_json, as_text, status_report
from wire import event_loop
from wire.atomic_file import write_atomically
from wire.log_lines import LogLinesFactory

_PR_SET_DUMPABLE = 4
_OPEN_TO_OTHERS = 0o077


def join(
    settings: Settings, server: tuple[str, int], token: str, name: str, engines: Sequence[Path], *, force: bool
) -> int:
    joining = Joining(server[0], server[1], JoinToken.parse(token), name, force)
    prepare(settings.state)
    with locked(settings.state):
        return asyncio.run(_join(settings.state, joining, tuple(engines)))


async def _join(state: StateDirectory, joining: Joining, engines: tuple[Path, ...]) -> int:
    for path in engines:
        candidate(path)
    identity = await enrol(joining, IdentityFiles(state.path), _say)
    _say(f"Joined as {identity.node} at {identity.grpc_address}.")
    database = Database(state.database)
    try:
        trusted = assembly.trust_list(state.path, DiskDigests(database))
        found = await trust_found(trusted, assembly.adapters()[LLAMA_CPP], engines)
    finally:
        database.close()
    for engine in found:
        _say(_trusted(engine))
    if not found:
        _say("No engine was found here. Install one, then run: arw-node-agent trust llama.cpp PATH")
    return 0


def run(settings: Settings) -> int:
    """Serve. 1 when an unexpected error ended it; the log says which."""
    _log_to_stderr()
    _keep_memory_private()
    prepare(settings.state)
    with sole_agent(settings.state):
        check_spawning()
        event_loop.run(app.serve(settings))
    return 0


def stop(settings: Settings) -> int:
    return asyncio.run(_stop(settings))


async def _stop(settings: Settings) -> int:
    """The agent first, so that nobody starts again what is being stopped."""
    record = recorded(settings.state)
    if record and await end(record, settings.timers.stop_agent):
        _say(f"Stopped the agent, pid {record.pid}.")
    if not settings.state.path.is_dir():
        _say("Nothing runs: there is no agent here.")
        return 0
    with locked(settings.state):
        grace = app.supervisor_timers(settings.timers).stop_grace
        stopped = await stop_everything(assembly.instances_directory(settings.state.path), grace)
    for one in stopped:
        _say(f"Stopped {one.name}, pid {one.engine_pid}.")
    if not stopped:
        _say("No instance was running.")
    return 0


def status(settings: Settings, *, json_wanted: bool) -> int:
    report = status_report(settings.state, app.utc_now())
    _say(as_json(report) if json_wanted else as_text(report))
    return 0


def trust(settings: Settings, adapter: str, path: Path) -> int:
    prepare(settings.state)
    known = assembly.adapters()
    if adapter not in known:
        raise AdapterUnknown(f"This agent has no adapter named {adapter}.", f"Use one of: {', '.join(sorted(known))}.")
    database = Database(settings.state.database)
    try:
        trusted = assembly.trust_list(settings.state.path, DiskDigests(database))
        _say(_trusted(asyncio.run(trust_one(trusted, known[adapter], candidate(path)))))
    finally:
        database.close()
    return 0


def accept_history(settings: Settings, history: str) -> int:
    prepare(settings.state)
    write_atomically(settings.state.accepted_history, f"{history}\n".encode())
    record = recorded(settings.state)
    if record:
        os.kill(record.pid, signal.SIGHUP)
    _say(f"Accepted history {history}. What it does not name is removed from this node.")
    return 0


def prepare(state: StateDirectory) -> None:
    """Make the directory, for this user alone. StorageUnavailable when it is another's or cannot be written."""
    try:
        state.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.path.mkdir(mode=0o700, exist_ok=True)
        seen = state.path.lstat()
    except OSError as error:
        raise StorageUnavailable(
            f"The state directory {state.path} cannot be made: {error.strerror}.", "Choose another --state-dir."
        ) from error
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid():
        raise StorageUnavailable(
            f"{state.path} is not a directory of this user.", "Run the agent as its owner, or choose another."
        )
    if seen.st_mode & _OPEN_TO_OTHERS:
        state.path.chmod(0o700)
    if not os.access(state.path, os.W_OK | os.X_OK):
        raise StorageUnavailable(f"{state.path} cannot be written.", "Make it writable, or choose another --state-dir.")


def _trusted(engine: Engine) -> str:
    return f"Trusted for {engine.adapter}: {engine.digests[0][0]} ({engine.version})"


def _keep_memory_private() -> None:
    """No core dump and no debugger of the same user gets at the keys in this process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _log_to_stderr() -> None:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=LogLinesFactory(),
    )


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the answer itself
