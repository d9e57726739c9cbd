"""What replicas on one PostgreSQL back up, put back, look at and seal anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from control_plane import commands, safekeeping
from control_plane.checkup import Grade, findings
from control_plane.domain.errors import InvalidArgument
from control_plane.store.backup_archive import opened as archive
from tests.fakes.clock import NOON
from tests.integration.control_plane.test_replica_trust import Site, site

__all__ = ["site"]


async def settled(site: Site, *names: str) -> None:
    """Replicas that ran once, and whose settings are kept."""
    for name in names:
        async with site.replica(name):
            site.settings().save(site.paths(name).settings)


def parts(file: Path) -> set[str]:
    with archive(file) as found:
        return set(found.manifest.parts)


def history(site: Site) -> str:
    with psycopg.connect(site.url) as connection:
        row = connection.execute("SELECT history_id FROM meta").fetchone()
    assert row
    return str(row[0])


def graded(site: Site, name: str, check: str) -> list[tuple[Grade, str, str]]:
    found = findings(site.paths(name), NOON)
    return [(one.grade, one.text, one.remedy) for one in found if one.check == check]


async def test_a_backup_of_a_further_replica_is_as_good_as_one_of_the_first(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    await settled(site, "one", "two")
    key = (site.paths("one").directory / "ca.key").read_bytes()
    file = site.state / "kept"
    await asyncio.to_thread(safekeeping.backup, site.paths("two").state, file, force=False)
    assert parts(file) == {"ca.key", "ca.pem", "settings.json", "operator"}
    assert f"Not in it, so keep a copy: {site.secret}" in capsys.readouterr().out
    assert not (site.paths("two").directory / "ca.key").exists()
    await asyncio.to_thread(safekeeping.restore, site.state / "three", file)
    assert (site.paths("three").directory / "ca.key").read_bytes() == key
    await settled(site, "three")
    assert site.operator("three") == "local-2"


async def test_a_backup_is_not_put_back_onto_the_database_of_another_control_plane(site: Site) -> None:
    await settled(site, "one")
    file = site.state / "kept"
    await asyncio.to_thread(safekeeping.backup, site.paths("one").state, file, force=False)
    with psycopg.connect(site.url) as connection:
        connection.execute("DELETE FROM authorities")
    async with site.replica("another"):
        pass
    before = history(site)
    with pytest.raises(InvalidArgument, match="that of the database is") as refused:
        await asyncio.to_thread(safekeeping.restore, site.state / "empty", file)
    assert refused.value.remedy
    assert history(site) == before


async def test_without_its_secret_a_further_replica_says_what_a_backup_needs(site: Site) -> None:
    await settled(site, "one", "two")
    site.settings(authority_secret_file="").save(site.paths("two").settings)
    with pytest.raises(InvalidArgument) as refused:
        await asyncio.to_thread(safekeeping.backup, site.paths("two").state, site.state / "kept", force=False)
    assert "--authority-secret-file" in refused.value.remedy
    assert not (site.state / "kept").exists()


async def test_a_look_says_that_the_database_answers_and_whose_authority_it_has(site: Site) -> None:
    await settled(site, "one", "two")
    for name in ("one", "two"):
        assert [grade for grade, *_ in graded(site, name, "database")] == [Grade.OK]
        assert [grade for grade, *_ in graded(site, name, "authority")] == [Grade.OK]
    (site.paths("two").directory / "ca.pem").write_bytes(b"damaged")
    ((grade, _, remedy),) = graded(site, "two", "authority")
    assert (grade, bool(remedy)) == (Grade.ERROR, True)


async def test_a_look_finds_a_wrong_secret_and_a_database_that_is_away(site: Site) -> None:
    await settled(site, "one", "two")
    (site.state / "secret").write_text("another" * 8)
    ((grade, text, _),) = graded(site, "two", "authority")
    assert (grade, "does not open" in text) == (Grade.ERROR, True)
    site.settings(database="postgresql://arw@127.0.0.1:1/arw").save(site.paths("two").settings)
    ((grade, _, remedy),) = graded(site, "two", "database")
    assert (grade, bool(remedy)) == (Grade.ERROR, True)


async def test_a_key_is_sealed_by_another_secret_which_is_kept(site: Site) -> None:
    await settled(site, "one", "two")
    new = site.state / "new"
    new.write_text("n" * 40)
    new.chmod(0o600)
    await asyncio.to_thread(commands.seal, site.paths("two").state, str(new))
    async with site.replica("three", authority_secret_file=str(new)):
        pass
    with pytest.raises(InvalidArgument, match="does not open"):
        await settled(site, "four")
    assert [grade for grade, *_ in graded(site, "two", "authority")] == [Grade.OK]


def test_the_only_one_on_its_database_needs_no_seal(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s" * 40)
    secret.chmod(0o600)
    with pytest.raises(InvalidArgument, match="needs no seal") as refused:
        commands.seal(tmp_path, str(secret))
    assert "--database" in refused.value.remedy
