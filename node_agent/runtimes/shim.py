"""The parent of one engine process. Run by path: python -I -S shim.py INSTANCE_DIR.

It outlives the agent, keeps the instance's lock, takes in orphans of the engine's tree, rotates the log and leaves a
record of how the engine ended. Standard library only, nothing secret in its arguments; all it needs is in launch.json.
"""

# pathlib and typing would cost every engine a megabyte of memory each.
# ruff: noqa: PTH103, PTH104, PTH106, PTH108, PTH110, PTH118, PTH119, PTH123, PTH202, PTH208

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

EXIT_LOCK_HELD = 75
EXIT_NOT_STARTED = 71
LOOK_AT_LOG_S = 5.0
LEFTOVERS_S = 5.0
OOM_SCORE = 500
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CGROUPS = "/sys/fs/cgroup"
WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LOG_NAME = re.compile(r"engine\.(\d+)(?:\.(\d+))?\.log")


def main(directory: str) -> int:
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.chdir(directory)
    lock = hold_lock()
    launch = Launch("launch.json")
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    prune_logs(launch)
    cgroup = Cgroup(launch.cgroup)
    engine, refusal = start_engine(launch, cgroup, lock)
    status = os.waitpid(engine, 0)[1] if refusal else watch(engine, launch)
    record_exit(launch, status, refusal, cgroup)
    kill_leftovers(cgroup)
    return EXIT_NOT_STARTED if refusal else 0


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


def hold_lock() -> int:
    handle = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another engine of this instance still runs", file=sys.stderr)
        sys.exit(EXIT_LOCK_HELD)
    return handle


def prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


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


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def start_engine(launch: Launch, cgroup: Cgroup, lock: int) -> tuple[int, str]:
    """(pid, why not). The run record is on disk before the engine's first instruction."""
    go_read, go_write = os.pipe()
    news_read, news_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go_write)
        become_engine(launch, lock, go_read, news_write)
    os.close(go_read)
    os.close(news_write)
    cgroup.take(pid)
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
        },
    )
    os.write(go_write, b"g")
    os.close(go_write)
    with os.fdopen(news_read, "rb") as news:
        return pid, news.read().decode(errors="replace")


def become_engine(launch: Launch, lock: int, go: int, news: int) -> None:
    try:
        if os.read(go, 1) != b"g":
            os._exit(EXIT_NOT_STARTED)
        os.setsid()
        redirect(launch.log)
        limit()
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


def limit() -> None:
    """No core dumps: they would hold the key and other people's prompts."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(OOM_SCORE))


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


def record_exit(launch: Launch, status: int, refusal: str, cgroup: Cgroup) -> None:
    code = os.waitstatus_to_exitcode(status)
    write_record(
        "exit.json",
        {
            "incarnation": launch.incarnation,
            "exit_code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "oom_killed": cgroup.oom_kills() > 0,
            "time": time.time(),
            "not_started": refusal,
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
    with open(log, "rb") as source, open(f".{os.path.basename(log)}", "wb") as copy:
        while chunk := source.read(1 << 16):
            copy.write(chunk)
        os.truncate(log, 0)
    os.rename(copy.name, f"{log.removesuffix('.log')}.{next_piece(launch)}.log")
    prune_logs(launch)


def next_piece(launch: Launch) -> int:
    pieces = [piece for incarnation, piece, _ in logs() if incarnation == launch.incarnation and piece < sys.maxsize]
    return max(pieces, default=0) + 1


def prune_logs(launch: Launch) -> None:
    for _, _, name in logs()[: -launch.log_pieces]:
        os.unlink(name)


def logs() -> list[tuple[int, int, str]]:
    """(incarnation, piece, name), oldest first; the piece still written to comes last."""
    matches = [match for name in os.listdir(".") if (match := LOG_NAME.fullmatch(name))]
    return sorted((int(match[1]), int(match[2] or sys.maxsize), match[0]) for match in matches)


class Cgroup:
    """A leaf for the engine's tree: version 2 with cgroup.kill, else version 1, else none. Memory is only watched."""

    def __init__(self, name: str) -> None:
        unified = self._made("0::", name, (CGROUPS, f"{CGROUPS}/unified"), "cgroup.kill")
        memory = self._made(":memory:", name, (f"{CGROUPS}/memory",), "memory.oom_control")
        pids = None if unified else self._made(":pids:", name, (f"{CGROUPS}/pids",), "cgroup.procs")
        self.kind = "v2" if unified else "v1" if pids else "none"
        self.paths = [path for path in (unified, pids, memory) if path]

    @staticmethod
    def _made(mark: str, name: str, roots: tuple[str, ...], needed: str) -> str | None:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            own = next((line.strip().partition(mark)[2] for line in file if mark in line), None)
        for root in roots if own is not None else ():
            parent = os.path.join(root, str(own).strip("/"))
            try:
                if os.path.exists(f"{parent}/cgroup.procs"):
                    os.makedirs(f"{parent}/{name}", mode=0o755, exist_ok=True)
            except OSError:
                continue
            if os.path.exists(f"{parent}/{name}/{needed}"):
                return f"{parent}/{name}"
        return None

    def take(self, pid: int) -> None:
        for path in list(self.paths):
            try:
                with open(f"{path}/cgroup.procs", "w", encoding="ascii") as file:
                    file.write(str(pid))
            except OSError:
                self.kind = "none" if path == self.paths[0] else self.kind
                self.paths.remove(path)

    def members(self) -> set[int]:
        pids: set[int] = set()
        for path in self.paths:
            try:
                with open(f"{path}/cgroup.procs", encoding="ascii") as file:
                    pids.update(int(pid) for pid in file.read().split())
            except OSError:
                continue
        return pids

    def kill(self) -> None:
        if self.kind == "v2":
            with open(f"{self.paths[0]}/cgroup.kill", "w", encoding="ascii") as file:
                file.write("1")
            return
        for pid in self.members():
            self._kill_member(pid)

    def _kill_member(self, pid: int) -> None:
        """A pid may be another's by now: only one that is still a member once it is held gets the signal."""
        try:
            held = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        if pid in self.members():
            signal.pidfd_send_signal(held, signal.SIGKILL)
        os.close(held)

    def oom_kills(self) -> int:
        for path in self.paths:
            for name in ("memory.events", "memory.oom_control"):
                try:
                    with open(f"{path}/{name}", encoding="ascii") as file:
                        counts = dict(line.split() for line in file)
                except OSError:
                    continue
                return int(counts.get("oom_kill", 0))
        return 0

    def remove(self) -> None:
        for path in self.paths:
            try:
                os.rmdir(path)
            except OSError:
                continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
