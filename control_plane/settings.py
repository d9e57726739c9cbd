"""What a control plane is told: where its files lie, where it listens, and how patient it is."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from control_plane.domain.errors import InvalidArgument
from control_plane.domain.event import EventsKept
from control_plane.domain.node_view import MAX_PLACED
from control_plane.timers import NODE_CERTIFICATE_VARIABLE, TIMERS_VARIABLE
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
DATABASE_VARIABLE = "ARW_DATABASE"
AUTHORITY_SECRET_VARIABLE = "ARW_AUTHORITY_SECRET_FILE"  # noqa: S105 - its name
SQLITE = "sqlite"
"""In place of an address: the file in the state directory."""
MANIFEST_VARIABLE = "ARW_RUNTIME_MANIFEST"
"""Files to load, with MANIFEST_SEPARATOR between them; --manifest wins over it."""
MANIFEST_SEPARATOR = ";"
PROFILES_VARIABLE = "ARW_RUNTIME_PROFILES"
"""A folder of the operator's own; else it is PROFILES in the folder of manifests."""
PROFILES = "profiles"
EVENTS_DAYS_VARIABLE = "ARW_EVENTS_DAYS"
EVENTS_ROWS_VARIABLE = "ARW_EVENTS_ROWS"
NODE_RUNTIMES_VARIABLE = "ARW_NODE_RUNTIMES"
NODE_RUNTIMES = (1, 9_000)
"""A node tells of at most 10,000 at once, those that it has not let go of yet among them."""
EVENTS_DAYS, EVENTS_ROWS = (1, 3650), (1_000, 1_000_000_000)
"""The least and the most that may be kept."""
VARIABLES = (
    *(STATE_DIR_VARIABLE, TIMERS_VARIABLE, DATABASE_VARIABLE, AUTHORITY_SECRET_VARIABLE, MANIFEST_VARIABLE),
    *(PROFILES_VARIABLE, EVENTS_DAYS_VARIABLE, EVENTS_ROWS_VARIABLE, NODE_RUNTIMES_VARIABLE, NODE_CERTIFICATE_VARIABLE),
)
"""All that a control plane reads."""


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
    events_days: int = 0
    """How long events are kept; 0: what the environment says, else 30."""
    events_rows: int = 0
    """How many events are kept; 0: what the environment says, else a million."""
    node_runtimes: int = 0
    """How many runtimes a node is given; 0: what the environment says, else a thousand."""
    authority_secret_file: str = ""
    """Holds what opens the authority's key in a database of several; empty: what the environment says."""

    def __post_init__(self) -> None:
        for name in ("grpc_port", "enrollment_port", "relay_port", "http_port"):
            if not 0 <= getattr(self, name) <= MAX_PORT:
                raise InvalidArgument(
                    f"{name} {getattr(self, name)} is no port.", "Use 0 to 65535; 0 takes a free one."
                )
        _check_kept(self.events_days, EVENTS_DAYS, "events_days")
        _check_kept(self.events_rows, EVENTS_ROWS, "events_rows")
        _check_kept(self.node_runtimes, NODE_RUNTIMES, "node_runtimes")
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

    def profile_folder(self, environment: Mapping[str, str]) -> Path | None:
        """Of the operator's own; None: there is none."""
        if named := environment.get(PROFILES_VARIABLE, ""):
            return Path(named).expanduser().absolute()
        return Path(self.manifest_dir) / PROFILES if self.manifest_dir else None

    def events_kept(self, environment: Mapping[str, str]) -> EventsKept:
        """InvalidArgument."""
        days = self.events_days or _kept(environment, EVENTS_DAYS_VARIABLE, EVENTS_DAYS)
        rows = self.events_rows or _kept(environment, EVENTS_ROWS_VARIABLE, EVENTS_ROWS)
        usual = EventsKept()
        return EventsKept(timedelta(days=days) if days else usual.age, rows or usual.rows)

    def most_runtimes(self, environment: Mapping[str, str]) -> int:
        """That a node is given. InvalidArgument."""
        return self.node_runtimes or _kept(environment, NODE_RUNTIMES_VARIABLE, NODE_RUNTIMES) or MAX_PLACED

    def secret_file(self, environment: Mapping[str, str]) -> str:
        return self.authority_secret_file or environment.get(AUTHORITY_SECRET_VARIABLE, "")

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
    def operator(self) -> Path:
        """The id of this machine's own operator, where it is not that of the first replica."""
        return self.directory / "operator"

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


@cache
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


def _kept(environment: Mapping[str, str], name: str, bounds: tuple[int, int]) -> int:
    """0: not said. InvalidArgument."""
    said = environment.get(name, "") or "0"
    if not said.isdecimal():
        raise InvalidArgument(f"{name}={said[:40]!r} is no whole number.", "Leave it unset, or give one.")
    _check_kept(int(said), bounds, name)
    return int(said)


def _check_kept(number: int, bounds: tuple[int, int], name: str) -> None:
    least, most = bounds
    if number and not least <= number <= most:
        raise InvalidArgument(
            f"{name} cannot be {number}.", f"Use {least} to {most}; 0 or nothing leaves it at what is usual."
        )


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
