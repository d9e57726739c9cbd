"""What a control plane is told: where its files lie, where it listens, and how patient it is."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from control_plane.domain.errors import InvalidArgument
from wire.atomic_file import write_atomically

PRODUCT = "arw"
MAX_PORT = 65535
_SECRETS = ("password", "sslpassword")
PORTS = {
    "grpc_port": ("--grpc-port", "gRPC"),
    "enrollment_port": ("--enrollment-port", "enrolment"),
    "relay_port": ("--relay-port", "the relay"),
    "http_port": ("--http-port", "HTTP"),
}
"""Of each setting its flag, and what listens there."""
STATE_DIR_VARIABLE = "ARW_STATE_DIR"
TIMERS_VARIABLE = "ARW_TIMERS"
DATABASE_VARIABLE = "ARW_DATABASE"
SQLITE = "sqlite"
"""In place of an address: the file in the state directory."""
MANIFEST_VARIABLE = "ARW_RUNTIME_MANIFEST"
"""Files to load, with MANIFEST_SEPARATOR between them; --manifest wins over it."""
MANIFEST_SEPARATOR = ";"
NODE_CERTIFICATE_VARIABLE = "ARW_NODE_CERTIFICATE_SECONDS"
"""For drills: how long a node's certificate lives."""


@dataclass(frozen=True, slots=True)
class Timers:
    """docs/protocol.md gives the reasons."""

    heartbeat: timedelta = timedelta(seconds=10)
    resume_within: timedelta = timedelta(seconds=10)
    amnesty: timedelta = timedelta(seconds=15)
    tick: timedelta = timedelta(seconds=1)
    hello_within: timedelta = timedelta(seconds=5)
    ack_within: timedelta = timedelta(seconds=30)
    bookmark_every: timedelta = timedelta(seconds=60)
    full_report_every: timedelta = timedelta(seconds=10)
    refused_hold: timedelta = timedelta(seconds=10)
    place_every: timedelta = timedelta(seconds=10)
    manifests_every: timedelta = timedelta(seconds=2)
    upkeep_every: timedelta = timedelta(minutes=10)
    stop_grace: timedelta = timedelta(seconds=10)
    node_certificate: timedelta = timedelta(hours=24)
    operator_certificate: timedelta = timedelta(days=90)
    server_certificate: timedelta = timedelta(days=7)

    @classmethod
    def chosen(cls, environment: Mapping[str, str]) -> Self:
        """The profile that the environment names; InvalidArgument for an unknown one."""
        profile = environment.get(TIMERS_VARIABLE, "")
        if profile not in ("", "test"):
            raise InvalidArgument(f"{TIMERS_VARIABLE}={profile!r} is no profile.", "Leave it unset, or say test.")
        timers = cls.second_long() if profile == "test" else cls()
        seconds = environment.get(NODE_CERTIFICATE_VARIABLE)
        return replace(timers, node_certificate=timedelta(seconds=float(seconds))) if seconds else timers

    @classmethod
    def second_long(cls) -> Self:
        """For tests: the same rules in a tenth of the time."""
        return cls(
            heartbeat=timedelta(seconds=1),
            resume_within=timedelta(seconds=1),
            amnesty=timedelta(seconds=1.5),
            tick=timedelta(seconds=0.1),
            hello_within=timedelta(seconds=1),
            ack_within=timedelta(seconds=3),
            bookmark_every=timedelta(seconds=6),
            full_report_every=timedelta(seconds=1),
            refused_hold=timedelta(seconds=1),
            place_every=timedelta(seconds=1),
            manifests_every=timedelta(seconds=0.2),
            stop_grace=timedelta(seconds=2),
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """Kept in settings.json. Unknown keys there are errors."""

    host: str = "127.0.0.1"
    """Where gRPC, enrolment and the relay listen; all three ask for TLS."""
    advertise: str = ""
    """What others dial instead of `host`; needed when that is a wildcard."""
    grpc_port: int = 7443
    enrollment_port: int = 7444
    relay_port: int = 7445
    http_host: str = "127.0.0.1"
    http_port: int = 8091
    http_certificate: str = ""
    """Chain in PEM for HTTP; needed beyond loopback."""
    http_key: str = ""
    database: str = ""
    """A postgresql:// address without a password, or SQLITE; empty: what the environment says."""
    database_file: str = ""
    """Holds the address, with its password, in place of `database`."""
    manifests: str = ""
    """Manifest files, as in the environment; empty: what that says."""
    manifest_dir: str = ""
    """Every manifest in it is loaded too."""

    def __post_init__(self) -> None:
        for name in ("grpc_port", "enrollment_port", "relay_port", "http_port"):
            if not 0 <= getattr(self, name) <= MAX_PORT:
                raise InvalidArgument(
                    f"{name} {getattr(self, name)} is no port.", "Use 0 to 65535; 0 takes a free one."
                )
        if bool(self.http_certificate) != bool(self.http_key):
            raise InvalidArgument("HTTP has a certificate or a key, but not both.", "Give both or neither.")
        if not is_loopback(self.http_host) and not self.http_certificate:
            raise InvalidArgument(
                f"HTTP on {self.http_host} would send bearer tokens in clear text.",
                "Give --http-certificate and --http-key, or keep HTTP on 127.0.0.1.",
            )
        if self.database not in ("", SQLITE):
            _check_database(self.database, "--database", may_hold_password=False)

    @property
    def dialled(self) -> str:
        """The host that agents and operators dial."""
        if self.advertise:
            return self.advertise
        return "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104 - compared, not bound

    @classmethod
    def load(cls, path: Path) -> Self:
        """The defaults when there is no file; InvalidArgument when it cannot be understood."""
        if not path.exists():
            return cls()
        try:
            return cls(**_checked(json.loads(path.read_bytes()), {field.name: field.type for field in fields(cls)}))
        except (ValueError, TypeError) as error:
            raise InvalidArgument(f"{path} cannot be understood: {error}.", "Correct or remove it.") from None

    def database_url(self, environment: Mapping[str, str]) -> str:
        """The address of PostgreSQL; empty for SQLite. InvalidArgument."""
        if self.database_file:
            found, source = _private_line(Path(self.database_file)), self.database_file
        else:
            found, source = self.database or environment.get(DATABASE_VARIABLE, "") or SQLITE, DATABASE_VARIABLE
        if found == SQLITE:
            return ""
        _check_database(found, source, may_hold_password=True)
        return found

    def manifest_files(self, environment: Mapping[str, str]) -> tuple[Path, ...]:
        named = self.manifests or environment.get(MANIFEST_VARIABLE, "")
        return tuple(
            Path(name.strip()).expanduser().absolute() for name in named.split(MANIFEST_SEPARATOR) if name.strip()
        )

    def save(self, path: Path) -> None:
        write_atomically(path, json.dumps(asdict(self), indent=2).encode())


@dataclass(frozen=True, slots=True)
class Paths:
    state: Path

    @property
    def directory(self) -> Path:
        return self.state / "control_plane"

    @property
    def database(self) -> Path:
        return self.directory / "arw.db"

    @property
    def settings(self) -> Path:
        return self.directory / "settings.json"

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def run(self) -> Path:
        return self.directory / "run.json"

    @property
    def backed_up(self) -> Path:
        """When the last backup was made, and where."""
        return self.directory / "backup.json"

    @property
    def restoring(self) -> Path:
        """There while files are exchanged for those of a backup."""
        return self.directory / "restoring"

    @property
    def runtime(self) -> Path:
        """The short directory for Unix sockets, whose paths are limited to 108 bytes."""
        mark = hashlib.sha256(str(self.state).encode()).hexdigest()[:8]
        given = os.environ.get("XDG_RUNTIME_DIR", "")
        return Path(given, f"arw-{mark}") if given else Path(tempfile.gettempdir(), f"arw-{os.getuid()}-{mark}")

    def make(self) -> None:
        """Make both directories, for this user only. InvalidArgument when one belongs to somebody else."""
        for directory in (self.state, self.directory, self.runtime):
            _make(directory)
        for directory in (self.directory, self.runtime):
            _check_owner(directory)


def product_version() -> str:
    try:
        return version(PRODUCT)
    except PackageNotFoundError:
        return "unpackaged"


def state_directory(given: str | None) -> Path:
    """Absolute; from the flag, else the environment, else the user's own state directory."""
    named = given or os.environ.get(STATE_DIR_VARIABLE, "")
    return Path(named).expanduser().absolute() if named else Path.home() / ".local" / "state" / "arw"


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidArgument(
            f"The directory {directory} cannot be made: {error.strerror}.",
            "Give its user write access to the one above it, or choose --state-dir.",
        ) from error


def _check_owner(directory: Path) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise InvalidArgument(f"{directory} is not a directory of this user.", "Move it away, or choose --state-dir.")
    try:
        directory.chmod(0o700)
    except OSError as error:
        raise InvalidArgument(
            f"{directory} cannot be written: {error.strerror}.", "Mount it for writing, or choose --state-dir."
        ) from error


def _check_database(url: str, source: str, *, may_hold_password: bool) -> None:
    # Never repeated in a refusal: it may hold a password.
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres") or not url.startswith(f"{parts.scheme}://"):
        raise InvalidArgument(
            f"{source} gives no address of a database.", f"Say postgresql://USER@HOST:PORT/NAME, or {SQLITE}."
        )
    has_password = parts.password is not None or not parse_qs(parts.query).keys().isdisjoint(_SECRETS)
    if has_password and not may_hold_password:
        raise InvalidArgument(
            f"{source} holds a password, which every user of this machine could read.",
            "Leave it out and set PGPASSWORD or a passfile; or write the address into a file of mode 0600 and give "
            f"--database-file, or into {DATABASE_VARIABLE}.",
        )


def _private_line(path: Path) -> str:
    try:
        mode, text = path.stat().st_mode, path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path} cannot be read: {error}.", "Correct --database-file.") from error
    if mode & 0o077:
        raise InvalidArgument(f"{path} can be read by others.", f"Run: chmod 600 {path}")
    return text.strip()


def _checked(values: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(values, dict) or not values.keys() <= known.keys():
        raise ValueError(f"it may only hold {', '.join(known)}")
    for name, value in values.items():
        if type(value).__name__ != known[name]:
            raise TypeError(f"{name} has to be of type {known[name]}")
    return values
