"""What a person would look at in the state directory of a control plane, and what to do. Changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from control_plane.domain.authority import trusted
from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.profile import Profile
from control_plane.manifests.profiles import ProfileFiles, shipped
from control_plane.process.environment import environment_of
from control_plane.settings import PROFILES_VARIABLE, VARIABLES, Paths, Settings
from control_plane.store import integrity
from control_plane.store.opening import look_at
from control_plane.store.schema import NEWEST
from wire.refusal import Refusal

if TYPE_CHECKING:
    from control_plane.store.postgres_look import Seen

OLD_BACKUP = timedelta(days=7)
LEAST_ROOM_BYTES = 512 * 1024 * 1024
LEAST_ROOM_SHARE = 0.05
AUTHORITY_ENDS_SOON = timedelta(days=90)
LOSS_SHOWN = timedelta(days=1)
SERVER_ENDS_SOON = timedelta(days=1)
MIB = 1024 * 1024
PREFIX = "ARW_"
OF_OTHERS = ("ARW_CONTEXT", "ARW_LLAMA_URL")
"""Variables of arwctl, which whoever starts a control plane may have set too."""
SEAL = "Seal it: arw-control-plane seal --authority-secret-file FILE"


class Grade(StrEnum):
    OK = "ok"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    grade: Grade
    text: str
    remedy: str = ""


def check(state: Path, *, as_json: bool) -> int:
    """0: all well. 1: there is something to do."""
    found = findings(Paths(state), datetime.now(UTC))
    for one in [] if as_json else found:
        _say(f"{one.grade:5}  {one.check}: {one.text}" + (f"\n       next: {one.remedy}" if one.remedy else ""))
    if as_json:
        _say(json.dumps([asdict(one) for one in found], indent=2))
    return int(any(one.grade is not Grade.OK for one in found))


def findings(paths: Paths, now: datetime) -> list[Finding]:
    if not paths.directory.is_dir():
        return [Finding("state", Grade.ERROR, f"{paths.directory} is no directory", "Make one: arw-control-plane init")]
    looks = {
        "permissions": _permissions(paths),
        "restore": _restoring(paths),
        "CA certificate": _certificate(paths.directory / "ca.pem", "CA certificate", AUTHORITY_ENDS_SOON, now),
        "server certificate": _certificate(paths.directory / "server.pem", "server certificate", SERVER_ENDS_SOON, now),
        "disk": _room(paths),
        "database": _database(paths),
        "switches": _switches(paths),
        "profiles": _profiles(paths),
        "backup": _backup(paths, now),
    }
    return [finding for name, look in looks.items() for finding in _told(name, look)]


def _told(name: str, look: Iterator[Finding]) -> Iterator[Finding]:
    """A look that is refused is a finding; the others go on."""
    try:
        yield from look
    except Refusal as refusal:
        yield Finding(name, Grade.ERROR, refusal.text, refusal.remedy)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}"
        yield Finding(name, Grade.ERROR, text, "Give the user who runs the control plane its files back.")


def _permissions(paths: Paths) -> Iterator[Finding]:
    private = [paths.directory, *(paths.directory / name for name in ("server.key", paths.database.name))]
    private += [path for path in paths.directory.glob("ca*.key") if path.is_file()]
    wrong = [path for path in private if path.exists() and _is_open(path)]
    for path in wrong:
        mode = "700" if path.is_dir() else "600"
        text = f"{path} belongs to another user, or others may use it"
        yield Finding("permissions", Grade.ERROR, text, f"Run: chown {os.geteuid()} {path}; chmod {mode} {path}")
    if not wrong:
        yield Finding("permissions", Grade.OK, f"{paths.directory} and its keys are this user's alone")


def _is_open(path: Path) -> bool:
    seen = path.stat()
    return seen.st_uid != os.geteuid() or bool(stat.S_IMODE(seen.st_mode) & 0o077)


def _restoring(paths: Paths) -> Iterator[Finding]:
    if paths.restoring.exists():
        yield Finding("restore", Grade.ERROR, "A restore was cut off", "Run it again: arwctl admin restore FILE")


def _certificate(path: Path, what: str, soon: timedelta, now: datetime) -> Iterator[Finding]:
    if not path.exists():
        yield Finding(what, Grade.WARN, f"{path} is missing", "Start the control plane: it makes it.")
        return
    try:
        end = x509.load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc
    except ValueError as error:
        remedy = "Restore the newest backup: arwctl admin restore FILE"
        yield Finding(what, Grade.ERROR, f"{path} cannot be understood: {error}", remedy)
        return
    text = f"ends {end:%Y-%m-%d %H:%M} UTC"
    if end - now > soon:
        yield Finding(what, Grade.OK, text)
    elif what.startswith("CA"):
        yield Finding(what, Grade.WARN, text, "Rotate it: arwctl admin ca rotate")
    else:
        yield Finding(what, Grade.WARN, text, "A running control plane renews it: start it, and see its log.")


def _room(paths: Paths) -> Iterator[Finding]:
    disk = shutil.disk_usage(paths.directory)
    text = f"{disk.free // MIB} MiB of {disk.total // MIB} MiB free for {paths.directory}"
    if disk.free < min(LEAST_ROOM_BYTES, LEAST_ROOM_SHARE * disk.total):
        yield Finding("disk", Grade.ERROR, text, "Make room: without any, nothing can be changed.")
    else:
        yield Finding("disk", Grade.OK, text)


def _database(paths: Paths) -> Iterator[Finding]:
    settings = Settings.load(paths.settings)
    if url := settings.database_url(os.environ):
        yield from _postgresql(paths, settings, look_at(url))
        return
    if not paths.database.exists():
        yield Finding("database", Grade.WARN, "there is none yet", "Start the control plane: arwctl up")
        return
    with integrity.reading(paths.database) as connection:
        facts, damages = integrity.facts(connection), integrity.damages(connection)
        events = integrity.events(connection)
    for damage in damages:
        remedy = "Stop the control plane, and restore the newest backup: arwctl admin restore FILE"
        yield Finding("database", Grade.ERROR, damage, remedy)
    if not damages:
        size = max(1, paths.database.stat().st_size // MIB)
        text = f"sound; {size} MiB, {facts.nodes} nodes, {facts.runtimes} runtimes, revision {facts.revision}"
        yield Finding("database", Grade.OK, text)
    yield Finding("schema", Grade.OK, f"{facts.schema}; this program knows {NEWEST}")
    yield Finding("events", Grade.OK, f"{_kept(paths, settings)}; {_held(*events)}")


def _postgresql(paths: Paths, settings: Settings, seen: Seen) -> Iterator[Finding]:
    text = f"PostgreSQL answers; see its own log and backups. Control planes that use it now: {seen.replicas}"
    yield Finding("database", Grade.OK, text)
    schema = f"{seen.schema or 'none yet'}; this program knows {NEWEST}"
    if seen.schema > NEWEST:
        yield Finding("schema", Grade.ERROR, schema, "Use the newer version of ARW that wrote it.")
    else:
        yield Finding("schema", Grade.OK, schema)
    yield Finding("events", Grade.OK, _kept(paths, settings))
    if seen.lost and seen.lost.time and datetime.now(UTC) - seen.lost.time < LOSS_SHOWN:
        text = f"{seen.lost.time:%Y-%m-%d %H:%M} UTC: {seen.lost.payload['text']}"
        yield Finding("history", Grade.WARN, text, seen.lost.payload["remedy"])
    yield from _told("authority", _authority(paths, settings, seen))


def _authority(paths: Paths, settings: Settings, seen: Seen) -> Iterator[Finding]:
    # Those on SQLite need none of it.
    from control_plane.process.clock import SystemClock  # noqa: PLC0415 - see above
    from control_plane.trust.authority import Lifetimes  # noqa: PLC0415 - see above
    from control_plane.trust.shared_authority import SharedAuthority  # noqa: PLC0415 - see above

    rows = seen.authorities
    if not rows:
        yield Finding("authority", Grade.WARN, "the database knows none yet", "Start the control plane.")
        return
    shared = SharedAuthority(paths.directory, SystemClock(), Lifetimes(), settings.secret_file(os.environ))
    for row in trusted(rows):
        shared.key_of(row, rows)
    shared.held(rows)
    if shared.active(rows).sealed_key:
        yield Finding("authority", Grade.OK, "the database's, with a sealed key; keep a copy of its secret")
    elif seen.replicas > 1:
        text = f"{seen.replicas} control planes use the database, and the key of its authority is not sealed in it"
        yield Finding("authority", Grade.WARN, text, SEAL)
    else:
        yield Finding("authority", Grade.OK, "the database's; its key is on this disk alone")


def _kept(paths: Paths, settings: Settings) -> str:
    """InvalidArgument."""
    environment, _ = environment_of(paths.run)
    kept = settings.events_kept(environment)
    return f"kept for {kept.age.days} days, {kept.rows} at most"


def _held(count: int, oldest: datetime | None) -> str:
    return f"{count} now, the oldest of {oldest:%Y-%m-%d %H:%M} UTC" if oldest else "none now"


def _switches(paths: Paths) -> Iterator[Finding]:
    """Variables by their names alone: some hold a password."""
    environment, pid = environment_of(paths.run)
    whose = f"the control plane, process {pid}" if pid else "a control plane that is started from here"
    found = {name for name in environment if name.startswith(PREFIX)}
    for name in sorted(found - {*VARIABLES, *OF_OTHERS}):
        near = get_close_matches(name, VARIABLES, 1)
        meant = f"Did you mean {near[0]}? " if near else ""
        text = f"{name} is set for {whose}, and says nothing to this version"
        yield Finding("switches", Grade.WARN, text, f"{meant}Correct or unset it, and start the control plane again.")
    told = ", ".join(sorted(found & {*VARIABLES})) or "no variable"
    yield Finding("switches", Grade.OK, f"{told} told to {whose}")


def _profiles(paths: Paths) -> Iterator[Finding]:
    """Of the operator's own; where there are none, there is nothing to say."""
    environment, _ = environment_of(paths.run)
    folder = Settings.load(paths.settings).profile_folder(environment)
    if folder is None or not (folder.exists() or PROFILES_VARIABLE in environment):
        return
    if not folder.is_dir():
        remedy = "Make it, or name another one, and start the control plane again."
        yield Finding("profiles", Grade.WARN, f"{PROFILES_VARIABLE} names {folder}, which is no folder", remedy)
        return
    found = ProfileFiles(folder).read()
    for refusal in {str(each): each for each in found.values() if isinstance(each, ManifestInvalid)}.values():
        yield Finding("profiles", Grade.WARN, refusal.text, refusal.remedy)
    own = sum(isinstance(each, Profile) and bool(each.source) for each in found.values())
    yield Finding("profiles", Grade.OK, f"{own} in {folder}, beside {len(shipped())} shipped ones")


def _backup(paths: Paths, now: datetime) -> Iterator[Finding]:
    remedy = "Make one, and keep it on another machine: arwctl admin backup FILE"
    try:
        noted = json.loads(paths.backed_up.read_bytes())
        age, file = now - datetime.fromisoformat(noted["time"]), str(noted["file"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        yield Finding("backup", Grade.WARN, "none was made", remedy)
        return
    text = f"made {age.days} days and {age.seconds // 3600} hours ago: {file}"
    yield Finding("backup", Grade.WARN, text, remedy) if age > OLD_BACKUP else Finding("backup", Grade.OK, text)


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the answer itself
