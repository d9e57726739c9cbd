"""A copied, moved, renamed or restored state directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from node_agent.domain.errors import DirectoryCopied
from node_agent.identity.files import IdentityFiles
from node_agent.identity.place import Place
from node_agent.identity.relocation import confirm_move, copied, stay
from tests.fakes.certificates import Issuer


def nowhere() -> Sequence[int]:
    return ()


def an_engine_elsewhere() -> Sequence[int]:
    return (4711,)


@pytest.fixture
def home(tmp_path: Path, issuer: Issuer) -> IdentityFiles:
    """A directory in which an agent has run."""
    (tmp_path / "home").mkdir()
    files = IdentityFiles(tmp_path / "home")
    files.write(replace(issuer.identity, place=files.here()), *issuer.node("n1"), issuer.ca_pem)
    stay(files, nowhere)
    return files


@pytest.fixture
def copy(home: IdentityFiles, tmp_path: Path) -> IdentityFiles:
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    return IdentityFiles(tmp_path / "copy")


def came_from(files: IdentityFiles, place: Place, path: Path) -> None:
    text = json.dumps(asdict(replace(files.identity(), place=place)))
    (path / "identity.json").write_text(text)


def test_an_agent_starts_again_where_it_was(home: IdentityFiles) -> None:
    stay(home, an_engine_elsewhere)
    assert home.identity().place == home.here()


def test_a_copy_on_the_same_machine_is_refused_with_both_ways_out(
    home: IdentityFiles, copy: IdentityFiles, tmp_path: Path
) -> None:
    before = copy.identity()
    with pytest.raises(DirectoryCopied, match=str(tmp_path / "home")) as refused:
        stay(copy, nowhere)
    assert "arw-node-agent confirm-move" in refused.value.remedy
    assert "arw-node-agent join --force" in refused.value.remedy
    assert copy.identity() == before, "nothing was agreed to"
    assert copied(home, home.identity()) is None


def test_a_copy_from_another_machine_is_refused_even_under_the_same_path(home: IdentityFiles, tmp_path: Path) -> None:
    came_from(home, replace(home.here(), machine="f" * 64), tmp_path / "home")
    with pytest.raises(DirectoryCopied, match="from another machine"):
        stay(home, nowhere)
    confirm_move(home, nowhere)
    stay(home, nowhere)


def test_a_machine_without_an_id_is_judged_by_its_paths(home: IdentityFiles, tmp_path: Path) -> None:
    came_from(home, replace(home.here(), machine=""), tmp_path / "home")
    stay(home, nowhere)
    assert home.identity().place == home.here()


def test_a_renamed_directory_goes_on(home: IdentityFiles, tmp_path: Path) -> None:
    renamed = IdentityFiles((tmp_path / "home").rename(tmp_path / "renamed"))
    stay(renamed, nowhere)
    assert renamed.identity().place == renamed.here()


def test_a_backup_restored_under_the_same_path_goes_on(
    home: IdentityFiles, copy: IdentityFiles, tmp_path: Path
) -> None:
    old = home.here()
    (tmp_path / "home").rename(tmp_path / "before")
    (tmp_path / "copy").rename(tmp_path / "home")
    assert home.here() != old
    stay(home, nowhere)
    assert home.identity().place == home.here()


def test_a_restored_backup_waits_while_engines_of_the_directory_before_it_live(
    home: IdentityFiles, copy: IdentityFiles, tmp_path: Path
) -> None:
    (tmp_path / "home").rename(tmp_path / "before")
    (tmp_path / "copy").rename(tmp_path / "home")
    with pytest.raises(DirectoryCopied, match="4711") as refused:
        stay(home, an_engine_elsewhere)
    assert "kill 4711" in refused.value.remedy
    assert home.identity().place != home.here()


def test_an_identity_of_an_older_agent_is_completed_at_its_next_start(
    issuer: Issuer, files: IdentityFiles, tmp_path: Path
) -> None:
    old = asdict(issuer.identity)
    del old["place"]
    (tmp_path / "identity.json").write_text(json.dumps(old))
    assert files.identity().place is None
    stay(files, an_engine_elsewhere)
    assert files.identity() == replace(issuer.identity, place=files.here())


def test_a_move_is_confirmed_once_the_old_directory_is_gone(
    home: IdentityFiles, copy: IdentityFiles, tmp_path: Path
) -> None:
    with pytest.raises(DirectoryCopied, match="copied, not moved"):
        confirm_move(copy, nowhere)
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(DirectoryCopied, match="4711"):
        confirm_move(copy, an_engine_elsewhere)
    confirm_move(copy, nowhere)
    stay(copy, nowhere)


def test_another_identity_at_the_old_place_does_not_hinder_a_move(
    home: IdentityFiles, copy: IdentityFiles, issuer: Issuer, tmp_path: Path
) -> None:
    home.write(replace(issuer.identity, installation_id="i2"), *issuer.node("n2"), issuer.ca_pem)
    confirm_move(copy, nowhere)
    assert copied(copy, copy.identity()) is None
