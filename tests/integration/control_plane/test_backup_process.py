"""Backup and restore by the command, in processes of their own."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from control_plane.use_cases.lost_history import JUMP
from tests.integration.control_plane.test_process import Command, command, initialised, refusal_of, serving

__all__ = ["command"]


async def done(command: Command, *arguments: str | Path) -> str:
    process = await command(*map(str, arguments))
    said, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return said.decode()


@pytest.fixture
async def file(command: Command, state: Path) -> Path:
    """A backup of the test's control plane."""
    await initialised(command)
    await done(command, "backup", state / "kept.arw")
    return state / "kept.arw"


def history(state: Path) -> str:
    with closing(sqlite3.connect(state / "control_plane" / "arw.db")) as database:
        return str(database.execute("SELECT history_id FROM meta").fetchone()[0])


def content(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


def spoil(file: Path) -> None:
    """One bit, in the database."""
    broken = bytearray(file.read_bytes())
    broken[len(broken) // 2] ^= 1
    file.write_bytes(broken)


async def test_a_backup_of_a_running_control_plane_is_put_back_as_a_new_history(command: Command, state: Path) -> None:
    await initialised(command)
    process = await serving(command, state)
    said = await done(command, "backup", state / "kept.arw")
    before = history(state)
    assert before in said
    assert "already uses" in await refusal_of(await command("restore", str(state / "kept.arw")))
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    (state / "control_plane" / "arw.db").write_bytes(b"lost" * 5000)
    assert "arwctl admin restore" in await refusal_of(await command("run"))
    said = await done(command, "restore", state / "kept.arw")
    assert history(state) != before
    assert f"accept-history {history(state)}" in said
    (aside,) = (state / "control_plane").glob("before-restore-*")
    assert (aside / "arw.db").read_bytes().startswith(b"lost")
    await serving(command, state)


async def test_a_backup_that_is_there_is_kept_unless_told_otherwise(command: Command, file: Path) -> None:
    before = content(file.parent, file.name)
    assert "--force" in await refusal_of(await command("backup", str(file)))
    assert content(file.parent, file.name) == before
    await done(command, "backup", "--force", file)
    assert content(file.parent, file.name) != before


async def test_a_damaged_backup_changes_nothing(command: Command, state: Path, file: Path) -> None:
    spoil(file)
    before = content(state / "control_plane")
    assert "damaged" in await refusal_of(await command("restore", str(file)))
    assert content(state / "control_plane") == before


async def test_the_backup_of_another_control_plane_is_refused(command: Command, state: Path, file: Path) -> None:
    (state / "control_plane").rename(state / "first")
    await initialised(command)
    assert "of another control plane" in await refusal_of(await command("restore", str(file)))


async def test_a_backup_starts_a_control_plane_in_an_empty_directory(command: Command, state: Path, file: Path) -> None:
    ca = (state / "control_plane" / "ca.pem").read_bytes()
    (state / "control_plane").rename(state / "lost")
    await done(command, "restore", file)
    assert (state / "control_plane" / "ca.pem").read_bytes() == ca
    assert (state / "control_plane" / "ca.key").stat().st_mode & 0o777 == 0o600
    await serving(command, state)


async def test_a_restore_that_was_cut_off_has_to_be_done_again(command: Command, state: Path, file: Path) -> None:
    (state / "control_plane" / "restoring").touch()
    (state / "control_plane" / "arw.db").unlink()
    assert "cut off in the middle" in await refusal_of(await command("run"))
    assert not (state / "control_plane" / "arw.db").exists()
    await done(command, "restore", file)
    await serving(command, state)


async def test_a_check_names_what_is_to_do_and_changes_nothing(command: Command, state: Path, file: Path) -> None:
    found = {one["check"]: one["text"] for one in json.loads(await done(command, "check", "--output", "json"))}
    assert found["events"].startswith("kept for 30 days, 1000000 at most; ")
    assert found["switches"].startswith("ARW_TIMERS told to ")
    (state / "control_plane" / "ca.key").chmod(0o644)
    (state / "control_plane" / "backup.json").unlink()
    process = await command("check", "--output", "json")
    said, _ = await process.communicate()
    assert process.returncode == 1
    wrong = {one["check"]: one["remedy"] for one in json.loads(said) if one["grade"] != "ok"}
    assert wrong.keys() == {"permissions", "backup"}
    assert "chmod 600" in wrong["permissions"]
    assert (state / "control_plane" / "ca.key").stat().st_mode & 0o777 == 0o644


async def test_a_directory_that_cannot_be_made_is_refused(command: Command, state: Path) -> None:
    (state / "control_plane").touch()
    said = await refusal_of(await command("run"))
    assert "cannot be made" in said
    assert "next:  " in said


async def test_with_postgresql_the_rest_is_backed_up_and_pg_dump_is_named(
    command: Command, state: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARW_DATABASE", postgres_url)
    await initialised(command)
    said = await done(command, "backup", state / "kept.arw")
    assert "pg_dump --format=custom" in said
    with psycopg.connect(postgres_url) as database:
        before = database.execute("SELECT history_id, revision FROM meta").fetchone()
    assert "accept-history" in await done(command, "restore", state / "kept.arw")
    with psycopg.connect(postgres_url) as database:
        after = database.execute("SELECT history_id, revision FROM meta").fetchone()
    assert before
    assert after
    assert after[0] != before[0]
    assert after[1] == before[1] + JUMP
    assert not (state / "control_plane" / "arw.db").exists()
    await serving(command, state)
