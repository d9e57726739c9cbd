from __future__ import annotations

import re
from pathlib import Path

import pytest

from arwctl import manifest
from arwctl.local.demo_kinds import SUBJECTS, Subject
from control_plane.domain.manifest import ManifestForm
from control_plane.manifests.reader import Reader

ROOT = Path(__file__).parents[3]
MADE = re.findall(r"build/models/(\S+)", (ROOT / "Makefile").read_text())
"""By `make setup`."""
FILES = sorted(path for path in (ROOT / "configs" / "examples").rglob("*") if path.is_file())


def test_there_are_configs() -> None:
    assert ROOT / "configs" / "examples" / "tiny-chat.toml" in FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_shipped_manifest_is_accepted_by_both_readers(file: Path) -> None:
    mine = manifest.read(file)
    theirs = Reader().read(mine.content, ManifestForm.TOML, file.name)
    assert [model.id for model in mine.models] == [model.id for model in theirs.models]
    assert theirs.runtimes
    assert all(model.path.resolve().parent == ROOT / "build" / "models" for model in mine.models)
    assert all(model.path.name in MADE for model in mine.models)


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_the_manifest_of_each_demo_is_accepted(subject: Subject) -> None:
    read = Reader().read(subject.manifest.encode(), ManifestForm.TOML, "demo")
    assert [runtime.id for runtime in read.runtimes] == [subject.runtime]
    assert read.runtimes[0].spec.auto_start
