from __future__ import annotations

from pathlib import Path

from control_plane import main
from control_plane.settings import MANIFEST_VARIABLE, Settings


def told(*words: str) -> dict[str, object]:
    _, settings, _ = main._given(main._parser().parse_args(["run", *words]))
    return settings


def test_manifests_are_named_by_flags_or_by_the_environment() -> None:
    environment = {MANIFEST_VARIABLE: "/etc/a.toml; /etc/b.json;;"}
    assert Settings().manifest_files({}) == ()
    assert Settings().manifest_files(environment) == (Path("/etc/a.toml"), Path("/etc/b.json"))
    assert Settings(manifests="/c.toml").manifest_files(environment) == (Path("/c.toml"),)


def test_flags_name_files_wherever_they_are_given() -> None:
    assert told("--manifest", "/a.toml", "--manifest", "b.toml", "--manifest-dir", "more") == {
        "manifests": f"/a.toml;{Path('b.toml').absolute()}",
        "manifest_dir": str(Path("more").absolute()),
    }


def test_an_empty_flag_takes_back_what_was_kept() -> None:
    assert told("--manifest", "", "--manifest-dir", "") == {"manifests": "", "manifest_dir": ""}
    assert told() == {}
