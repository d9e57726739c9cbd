"""What each command of the agent does; `app` holds what `run` serves."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import pwd
import signal
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from node_agent import app
from node_agent.control_link.fork_check import check_spawning
from node_agent.disk.database import Database
from node_agent.disk.digests import DiskDigests
from node_agent.disk.starts import Starts
from node_agent.domain.errors import AdapterUnknown, SpecInvalid, StorageUnavailable
from node_agent.domain.inventory import Engine
from node_agent.identity.enrolment import Joining
from node_agent.identity.enrolment import join as enrol
from node_agent.identity.files import IdentityFiles
from node_agent.identity.join_token import JoinToken
from node_agent.running_agent import end, locked, recorded, settled_here, sole_agent
from node_agent.runtimes import assembly
from node_agent.runtimes.adoption import rename_to
from node_agent.runtimes.containers.service import Containers
from node_agent.runtimes.containers.trusting import trust_image as trust_one_image
from node_agent.runtimes.engines import LLAMA_CPP
from node_agent.runtimes.kinds.adapter import Adapter
from node_agent.runtimes.kinds.registry import Registered, registered
from node_agent.runtimes.shutdown import stop_everything
from node_agent.runtimes.trust import trust as trust_one
from node_agent.runtimes.trust import usable_engines
from node_agent.settings import Settings, StateDirectory
from node_agent.status_report import as_json, as_text, status_report
from wire import event_loop
from wire.atomic_file import write_atomically
from wire.log_lines import log_to_stderr

_PR_SET_DUMPABLE = 4
_OPEN_TO_OTHERS = 0o067
"""All but the search that the user of engines may do on its way to their directories."""


def join(
    settings: Settings,
    invitation: Callable[[], tuple[tuple[str, int], JoinToken]],
    name: str,
    engines: Sequence[Path],
    *,
    force: bool,
    then_run: bool,
) -> int:
    """`invitation` gives ((host, port), token), and may block: it is asked when nothing else is left to prepare."""
    prepare(settings.state)
    adapters = assembly.adapters()
    with locked(settings.state):
        asyncio.run(_join(settings.state, adapters, tuple(engines), lambda: _joining(*invitation(), name, force=force)))
    return _serve(settings, adapters) if then_run else 0


def _joining(server: tuple[str, int], token: JoinToken, name: str, *, force: bool) -> Joining:
    return Joining(server[0], server[1], token, name, force)


async def _join(
    state: StateDirectory,
    adapters: Mapping[str, Adapter],
    named: tuple[Path, ...],
    joining: Callable[[], Joining],
) -> None:
    database = Database(state.database)
    try:
        trusted = assembly.trust_list(state.path, DiskDigests(database))
        engines = [
            engine
            for one in adapters.values()
            for engine in await usable_engines(trusted, one, named if one.id == LLAMA_CPP else ())
        ]
        identity = await enrol(joining(), IdentityFiles(state.path), _say)
        # What was wanted of an earlier identity, or of the one that this directory was copied from, is not wanted here.
        app.desired_store(state, database).forget()
        rename_to(identity.node, assembly.instances_directory(state.path))
        _say(f"Joined as {identity.node} at {identity.grpc_address}.")
        trusted.keep(engines)
    finally:
        database.close()
    for engine in engines:
        _say(_trusted(engine))
    if not engines:
        _say("No engine was found here. Install one, then run: arw-node-agent trust llama.cpp PATH")


def run(settings: Settings, *, leave_safe_mode: bool = False) -> int:
    """Serve. 1 when an unexpected error ended it; the log says which."""
    prepare(settings.state)
    if leave_safe_mode:
        Starts(settings.state.starts).forget()
    return _serve(settings, assembly.adapters())


def _serve(settings: Settings, adapters: Mapping[str, Adapter]) -> int:
    """`adapters` know already what they were asked about their engines."""
    log_to_stderr(logging.INFO)
    _keep_memory_private()
    with sole_agent(settings.state):
        check_spawning()
        event_loop.run(app.serve(settings, adapters, Starts(settings.state.starts)))
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


def check(settings: Settings, *, json_wanted: bool) -> int:
    """1 when this machine cannot serve."""
    from node_agent.check import finding  # noqa: PLC0415 - a serving agent has no use for it
    from node_agent.check.report import check_report  # noqa: PLC0415 - as above

    limits = app.limits_file(settings, assembly.adapters()).limits()
    found = asyncio.run(check_report(settings.state, limits, app.utc_now()))
    _say(finding.as_json(found) if json_wanted else finding.as_text(found))
    return 0 if finding.can_serve(found) else 1


def service(settings: Settings, action: str, manager: str, *, of_user: bool) -> int:
    """`action`: install, uninstall or print."""
    from node_agent.service.definition import Manager, Service, text_for  # noqa: PLC0415 - as above
    from node_agent.service.installation import Installation, manager_here  # noqa: PLC0415 - as above

    wanted = Service(_run_command(settings), settings.state.path.parent, "" if of_user else _account(settings.state))
    here = Installation(Manager(manager) if manager else manager_here(), wanted)
    if action == "print":
        _say(text_for(here.manager, wanted))
        return 0
    changed = here.install() if action == "install" else here.uninstall()
    done = ("Wrote" if action == "install" else "Removed") if changed else "Nothing to change:"
    _say(f"{done} {here.file}. Models run on.")
    for step in here.next_steps(installed=action == "install"):
        _say(f"next: {step}")
    return 0


def _run_command(settings: Settings) -> tuple[str, ...]:
    installed = Path(sys.executable).with_name("arw-node-agent")
    program = (str(installed),) if installed.exists() else (sys.executable, "-m", "node_agent.main")
    limits = ("--config", str(settings.limits)) if settings.limits is not None else ()
    return (*program, "run", "--state-dir", str(settings.state.path.parent), *limits)


def _account(state: StateDirectory) -> str:
    """Whose the state directory is; whoever installs it where there is none yet."""
    owner = state.path.stat().st_uid if state.path.exists() else os.geteuid()
    return pwd.getpwuid(owner).pw_name


def trust(settings: Settings, adapter: str, what: str, key_file: Path | None) -> int:
    """`what`: a program's path, or the address of what runs already."""
    one = _known(settings, adapter)
    if not what:
        raise SpecInvalid("Nothing is named that could be trusted.", f"arw-node-agent trust {adapter} PATH")
    if not one.traits.managed:
        allowed = assembly.attachable(settings.state.path).allow(what, key_file)
        _say(f"Instances of this node may attach to {allowed.url}.")
        return 0
    if key_file is not None:
        raise SpecInvalid("--key-file is for what runs already.", "What is started here gets a key of its own.")
    database = Database(settings.state.database)
    try:
        trusted = assembly.trust_list(settings.state.path, DiskDigests(database))
        _say(_trusted(asyncio.run(trust_one(trusted, one, one.candidate(Path(what))))))
    finally:
        database.close()
    return 0


def trust_image(settings: Settings, adapter: str, image: str, program: str) -> int:
    """`program`: in the image; empty: its entry point."""
    one = _known(settings, adapter)
    if not one.traits.managed:
        raise SpecInvalid(f"{adapter} starts nothing, so it needs no image.", "Leave --image out.")
    tool = app.limits_file(settings, assembly.adapters()).limits().container_tool
    database = Database(settings.state.database)
    try:
        trusted = assembly.trust_list(settings.state.path, DiskDigests(database))
        _say(_trusted(asyncio.run(trust_one_image(trusted, Containers(lambda: tool), one, image, program))))
    finally:
        database.close()
    return 0


def _known(settings: Settings, adapter: str) -> Adapter:
    prepare(settings.state)
    known = assembly.adapters()
    if adapter not in known:
        raise AdapterUnknown(f"This agent has no adapter named {adapter}.", f"Use one of: {', '.join(sorted(known))}.")
    return known[adapter]


def adapters(settings: Settings) -> int:
    _say(json.dumps([_adapter(one, _trusted_engines(settings)) for one in registered()], indent=2))
    return 0


def _trusted_engines(settings: Settings) -> Sequence[Engine]:
    """Nothing is made where there is no agent yet."""
    if not settings.state.database.exists():
        return ()
    database = Database(settings.state.database)
    try:
        return assembly.trust_list(settings.state.path, DiskDigests(database)).engines()
    finally:
        database.close()


def _adapter(one: Registered, trusted: Sequence[Engine]) -> dict[str, object]:
    traits = one.adapter.traits
    engines = [engine for engine in trusted if engine.adapter == one.adapter.id]
    return {
        "id": one.adapter.id,
        "source": one.source,
        "features": sorted(traits.features),
        "managed": traits.managed,
        "needs_model": traits.needs_model,
        "engines": [{"path": engine.digests[0][0], "version": engine.version} for engine in engines],
    }


def accept_history(settings: Settings, history: str) -> int:
    prepare(settings.state)
    write_atomically(settings.state.accepted_history, f"{history}\n".encode())
    record = recorded(settings.state)
    if record:
        os.kill(record.pid, signal.SIGHUP)
    _say(f"Accepted history {history}. What it does not name is removed from this node.")
    return 0


def confirm_move(settings: Settings) -> int:
    prepare(settings.state)
    identity = settled_here(settings.state)
    _say(f"Node {identity.node} belongs to {settings.state.path} from now on. Start it with: arw-node-agent run")
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


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the answer itself
