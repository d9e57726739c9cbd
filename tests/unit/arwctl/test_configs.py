from __future__ import annotations

from pathlib import Path

import pytest

from arwctl import manifest
from arwctl.local.demo import MANIFEST
from control_plane.domain.manifest import ManifestForm
from control_plane.manifests.reader import Reader

ROOT = Path(__file__).parents[3]
FILES = sorted(path for path in (ROOT / "configs").rglob("*") if path.is_file())


def test_there_are_configs() -> None:
    assert ROOT / "configs" / "examples" / "tiny-chat.toml" in FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_shipped_manifest_is_accepted_by_both_readers(file: Path) -> None:
    mine = manifest.read(file)
    theirs = Reader().read(mine.content, ManifestForm.TOML, file.name)
    assert [model.id for model in mine.models] == [model.id for model in theirs.models]
    assert theirs.runtimes
    assert all(model.path.resolve() == ROOT / "build" / "models" / "tiny-chat.gguf" for model in mine.models)


def test_the_manifest_of_the_demo_is_accepted() -> None:
    read = Reader().read(MANIFEST.encode(), ManifestForm.TOML, "demo")
    assert [runtime.id for runtime in read.runtimes] == ["tiny-chat"]
    assert read.runtimes[0].spec.auto_start
