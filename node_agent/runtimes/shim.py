"""The parent of one engine process. Run by path: python -I -S shim.py INSTANCE_DIR.

It outlives the agent, keeps the instance's lock, takes in orphans of the engine's tree, rotates the log and leaves a
record of how the engine ended. Standard library only, nothing secret in its arguments; all it needs is in launch.json.
"""

# pathlib and typing would cost every engine a megabyte of memory each.
# ruff: noqa: PTH100, PTH104, PTH106, PTH108, PTH118, PTH119, PTH120, PTH123, PTH202, PTH208

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import resource
import signal
import sys
import time

if __name__ == "__main__":
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from node_agent.runtimes.sandbox.cgroup import Cgroup

EXIT_LOCK_HELD = 75
EXIT_NOT_STARTED = 71
LOOK_AT_LOG_S = 5.0
LEFTOVERS_S = 5.0
SET_CHILD_SUBREAPER = 36
SCRATCH = "tmp"
WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LOG_NAME = re.compile(r"engine\.(\d+)(?:\.(\d+))?\.log")


def main(directory: str) -> int:
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.chdir(directory)
    lock = hold_lock()
    launch = Launch("launch.json")
    ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    prune_logs(launch)
    cgroup = Cgroup(launch.cgroup, launch.memory_bytes, launch.pids)
    engine, refusal = start_engine(launch, cgroup, lock)
    status = os.waitpid(engine, 0)[1] if refusal.text else watch(engine, launch)
    record_exit(launch, status, refusal, cgroup)
    kill_leftovers(cgroup)
    clear_scratch()
    return EXIT_NOT_STARTED if refusal.text else 0


class Launch:
    """What the agent asks for."""

    def __init__(self, name: str) -> None:
        with open(name, encoding="utf-8") as file:
            content = json.load(file)
        self.incarnation: int = content["incarnation"]
        self.argv: list[str] = content["argv"]
        self.env: dict[str, str] = content["env"]
        self.cwd: str = content["cwd"]
        self.cgroup: str = content["cgroup"]
        self.log: str = content["log"]
        self.log_bytes: int = content["log_bytes"]
        self.log_pieces: int = content["log_pieces"]
        sandbox = content["sandbox"]
        self.memory_bytes: int = sandbox["memory_bytes"]
        self.pids: int = sandbox["pids"]
        self.required: list[str] = sandbox["required"]
        self.wanted = sandbox["wanted"]
        self.given: list[dict[str, object]] = sandbox.get("given", [])
        """Layers that a container tool makes; its client is not confined."""


class Refusal:
    """Why the engine was not started; empty when it was."""

    def __init__(self, text: str = "", layer: str = "") -> None:
        self.text = text
        self.layer = layer
        """Of the sandbox: required, and not to be had."""


def hold_lock() -> int:
    handle = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another engine of this instance still runs", file=sys.stderr)
        sys.exit(EXIT_LOCK_HELD)
    return handle


def write_record(name: str, content: dict[str, object]) -> None:
    """Whole or absent, also after a power cut."""
    scratch = f".{name}.{os.getpid()}"
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(handle)
    os.rename(scratch, name)
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(here)
    os.close(here)


def start_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def identity(handle: int) -> tuple[int, int]:
    seen = os.fstat(handle)
    return seen.st_dev, seen.st_ino


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def start_engine(launch: Launch, cgroup: Cgroup, lock: int) -> tuple[int, Refusal]:
    """Its pid, and why it was not started. The run record is on disk before the engine's first instruction."""
    go_read, go_write = os.pipe()
    news_read, news_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_write)
        become_engine(launch, lock, go_read, news_write)
    os.close(go_read)
    os.close(news_write)
    cgroup.take(pid)
    with os.fdopen(news_read, "rb") as news:
        layers, refusal = first_news(news.readline(), launch, cgroup)
        write_record(
            "run.json",
            {
                "incarnation": launch.incarnation,
                "boot_id": boot_id(),
                "engine_pid": pid,
                "engine_start_ticks": start_ticks(pid),
                "shim_pid": os.getpid(),
                "shim_start_ticks": start_ticks(os.getpid()),
                "cgroup": cgroup.kind,
                "cgroup_paths": cgroup.paths,
                "sandbox": layers,
                "lock": identity(lock),
            },
        )
        if layers and not refusal.text:
            os.write(go_write, b"g")
        os.close(go_write)
        return pid, refusal if refusal.text else Refusal(news.read().decode(errors="replace"))


def first_news(line: bytes, launch: Launch, cgroup: Cgroup) -> tuple[list[dict[str, object]], Refusal]:
    """The layers of the sandbox, and whether the engine may start in it. No layers: it said why, or died."""
    if not line.startswith(b"["):
        return [], Refusal(line.decode(errors="replace"))
    layers = [*json.loads(line), *([] if launch.given else cgroup.limit())]
    missing = (each for each in layers if each["name"] in launch.required and not each["in_force"])
    return layers, next((Refusal(each["reason"], each["name"]) for each in missing), Refusal())


def become_engine(launch: Launch, lock: int, go: int, news: int) -> None:
    """The sandbox stands before the run record is written, and its code costs the shim no memory."""
    try:
        from node_agent.runtimes.sandbox.confine import Wanted, confine  # noqa: PLC0415 - in the child alone

        os.setsid()
        redirect(launch.log)
        layers = launch.given or confine(Wanted(**launch.wanted))
        os.write(news, json.dumps(layers).encode() + b"\n")
        if os.read(go, 1) != b"g":
            os._exit(EXIT_NOT_STARTED)
        os.set_inheritable(lock, True)
        os.chdir(launch.cwd)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(launch.argv[0], launch.argv, launch.env)  # noqa: S606 - the agent vouches for it, by digest
    except OSError as error:
        os.write(news, f"{error.strerror}: {error.filename or launch.argv[0]}".encode())
    finally:
        os._exit(EXIT_NOT_STARTED)


def redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


def watch(engine: int, launch: Launch) -> int:
    """Reap, forward SIGTERM, rotate; the wait status of the engine once it ended."""
    while True:
        got = signal.sigtimedwait(WATCHED, LOOK_AT_LOG_S)
        if got is None:
            rotate_log(launch)
        elif got.si_signo in (signal.SIGTERM, signal.SIGINT):
            os.kill(engine, signal.SIGTERM)
        elif got.si_signo == signal.SIGCHLD:
            ended = reap()
            if engine in ended:
                return ended[engine]


def reap() -> dict[int, int]:
    ended = {}
    try:
        while (one := os.waitpid(-1, os.WNOHANG))[0]:
            ended[one[0]] = one[1]
    except ChildProcessError:
        pass
    return ended


def record_exit(launch: Launch, status: int, refusal: Refusal, cgroup: Cgroup) -> None:
    code = os.waitstatus_to_exitcode(status)
    write_record(
        "exit.json",
        {
            "incarnation": launch.incarnation,
            "exit_code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "oom_killed": cgroup.oom_kills() > 0,
            "memory_limit_bytes": cgroup.limit_met(),
            "time": time.time(),
            "not_started": refusal.text,
            "missing_layer": refusal.layer,
        },
    )


def kill_leftovers(cgroup: Cgroup) -> None:
    """Nothing of the tree outlives the engine: the cgroup first, then whatever came to us as the subreaper."""
    deadline = time.monotonic() + LEFTOVERS_S
    while time.monotonic() < deadline:
        cgroup.kill()
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        reap()
        if not children() and not cgroup.members():
            break
        signal.sigtimedwait((signal.SIGCHLD,), 0.02)
    cgroup.remove()


def clear_scratch() -> None:
    """What the engine left. Names with a dot stay for its next start: there lie caches that are dear to make."""
    with os.scandir(SCRATCH) as left:
        for entry in left:
            if not entry.name.startswith("."):
                remove(entry)


def remove(entry: os.DirEntry[str]) -> None:
    """What cannot be removed stays until its instance is: the engine made it so."""
    try:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)
            return
        with os.scandir(entry.path) as below:
            for each in below:
                remove(each)
        os.rmdir(entry.path)
    except (OSError, RecursionError):
        return


def children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(pid) for pid in file.read().split()]


def rotate_log(launch: Launch) -> None:
    """Copy and truncate: the engine keeps its descriptor, and appends at the new end.

    The copy takes its name after the truncation, so that a reader never meets the same bytes twice.
    """
    log = launch.log
    if os.path.getsize(log) < launch.log_bytes:
        return
    with open(log, "rb") as source, open(os.path.join(os.path.dirname(log), f".{os.path.basename(log)}"), "wb") as copy:
        while chunk := source.read(1 << 16):
            copy.write(chunk)
        os.truncate(log, 0)
    os.rename(copy.name, f"{log.removesuffix('.log')}.{next_piece(launch)}.log")
    prune_logs(launch)


def next_piece(launch: Launch) -> int:
    pieces = [
        piece for incarnation, piece, _ in logs(launch) if incarnation == launch.incarnation and piece < sys.maxsize
    ]
    return max(pieces, default=0) + 1


def prune_logs(launch: Launch) -> None:
    for _, _, name in logs(launch)[: -launch.log_pieces]:
        try:
            os.unlink(name)
        except FileNotFoundError:
            continue  # the shim of a launch beside this one was faster


def logs(launch: Launch) -> list[tuple[int, int, str]]:
    """(incarnation, piece, path), oldest first; the piece still written to comes last."""
    folder = os.path.dirname(launch.log)
    matches = [match for name in os.listdir(folder or ".") if (match := LOG_NAME.fullmatch(name))]
    return sorted((int(match[1]), int(match[2] or sys.maxsize), os.path.join(folder, match[0])) for match in matches)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
