"""Backups that a restore refuses before it touches anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from control_plane import safekeeping
from control_plane.domain.authority import AuthorityStep
from control_plane.domain.errors import InvalidArgument, NotFound, StorageUnavailable
from control_plane.ground import ground
from control_plane.settings import DATABASE_VARIABLE, Paths, Settings
from control_plane.store.backup import renew
from control_plane.store.backup_archive import Contents, pack
from control_plane.timers import Timers
from control_plane.trust.authority import EmbeddedAuthority, Lifetimes
from control_plane.use_cases.mirror import Mirror
from control_plane.use_cases.rotate_authority import PrepareAuthority, ReadRotation, StepAuthority
from tests.fakes.clock import NOON, FakeClock
from wire.refusal import Refusal

SOUND = Contents("0.1.0", NOON, "domain", "sqlite", "0001", "history", 7)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """What a sound backup holds."""
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    source = tmp_path / "source"
    source.mkdir()
    EmbeddedAuthority.open(source, FakeClock(), Lifetimes())
    renew(source / "arw.db")
    return {name: source / name for name in ("arw.db", "ca.key", "ca.pem")}


def without(name: str) -> Callable[[dict[str, Path]], dict[str, Path]]:
    return lambda parts: {known: path for known, path in parts.items() if known != name}


def stranger(name: str) -> Callable[[dict[str, Path]], dict[str, Path]]:
    return lambda parts: {**parts, name: parts["ca.pem"]}


CASES = [
    (replace(SOUND, schema="9999"), dict, StorageUnavailable, "newer"),
    (SOUND, without("arw.db"), InvalidArgument, "no whole control plane"),
    (SOUND, without("ca.key"), InvalidArgument, "no whole control plane"),
    (SOUND, stranger("../context.json"), InvalidArgument, "no whole control plane"),
    (SOUND, stranger(f"ca-../../{'a' * 34}.key"), InvalidArgument, "no whole control plane"),
    (replace(SOUND, database="postgresql"), without("arw.db"), InvalidArgument, "is of a control plane on postgresql"),
]


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_put_back_is_refused_and_nothing_is_touched(
    tmp_path: Path,
    parts: dict[str, Path],
    case: tuple[Contents, Callable[[dict[str, Path]], dict[str, Path]], type[Refusal], str],
) -> None:
    contents, chosen, kind, words = case
    pack(tmp_path / "backup", contents, chosen(parts), force=False)
    with pytest.raises(kind, match=words) as refused:
        safekeeping.restore(tmp_path / "state", tmp_path / "backup")
    assert refused.value.remedy
    assert {path.name for path in Paths(tmp_path / "state").directory.glob("*")} <= {"lock"}


def test_a_backup_of_sqlite_is_not_put_back_where_the_environment_names_postgresql(
    tmp_path: Path, parts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATABASE_VARIABLE, "postgresql://arw@db/arw")
    pack(tmp_path / "backup", SOUND, parts, force=False)
    with pytest.raises(InvalidArgument, match="on sqlite") as refused:
        safekeeping.restore(tmp_path / "state", tmp_path / "backup")
    assert DATABASE_VARIABLE in refused.value.remedy


def test_a_sound_backup_is_put_back(tmp_path: Path, parts: dict[str, Path]) -> None:
    pack(tmp_path / "backup", SOUND, parts, force=False)
    assert safekeeping.restore(tmp_path / "state", tmp_path / "backup") == 0
    assert parts.keys() <= {path.name for path in Paths(tmp_path / "state").directory.iterdir()}


async def test_a_backup_made_in_the_middle_of_a_rotation_has_both_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    paths = {name: Paths(tmp_path / name) for name in ("made", "restored")}
    for each in paths.values():
        each.make()
    async with begun(paths["made"]) as (authority, step):
        await step("prepared")
        safekeeping.backup(tmp_path / "made", tmp_path / "backup", force=False)
        prepared = authority.trust_bundle()
        await step("activated")
    assert safekeeping.restore(tmp_path / "restored", tmp_path / "backup") == 0
    async with begun(paths["restored"]) as (authority, step):
        assert authority.trust_bundle() == prepared
        await step("activated")
        assert authority.trust_bundle() == prepared[::-1]


@asynccontextmanager
async def begun(paths: Paths) -> AsyncIterator[tuple[EmbeddedAuthority, Callable[[str], Awaitable[object]]]]:
    """A control plane that listens nowhere, and a way to take the steps of a rotation."""
    clock = FakeClock(datetime.now(UTC))
    async with ground(Settings(), Timers.second_long(), paths, clock) as on:
        read = ReadRotation(on.store, Mirror(on.store), clock)

        def step(name: str) -> Awaitable[object]:
            if name == "prepared":
                return PrepareAuthority(on.store, clock, on.trust, read, lambda: False)()
            return StepAuthority(on.store, clock, on.trust, read)(AuthorityStep(name))

        yield on.authority, step


def test_where_there_is_no_control_plane_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refused:
        safekeeping.backup(tmp_path, tmp_path / "backup", force=False)
    assert "--state-dir" in refused.value.remedy
    assert not (tmp_path / "backup").exists()
