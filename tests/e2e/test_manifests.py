"""Manifests as an operator works with them, through real processes and the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.fakes.world import World

pytestmark = pytest.mark.timeout(300)

MANIFEST = """\
version = 1
[[runtimes]]
id = "somebodys"
adapter = "external"
external = { url = "http://127.0.0.1:9" }
"""


def written(world: World, text: str) -> Path:
    file = world.folder / "fleet.toml"
    file.write_text(text)
    return file


def test_a_plan_comes_true_and_an_export_changes_nothing(world: World) -> None:
    world.up()
    file = written(world, MANIFEST)
    plan = world.arwctl("runtime", "plan", "-f", file, "--output", "json")
    assert plan.code == 2, plan.err
    (planned,) = json.loads(plan.out)["runtimes"]
    assert planned["action"] == "create"
    assert planned["node"] or planned["placement_problem"]
    world.done("runtime", "apply", "-f", file)
    assert world.done("runtime", "apply", "-f", file) == "somebodys: unchanged\n"
    assert world.done("runtime", "diff", "-f", file) == ""
    for name, words in (("a.toml", ()), ("a.json", ("--output", "json"))):
        exported = world.folder / name
        exported.write_text(world.done("runtime", "export", *words))
        world.done("runtime", "diff", "-f", exported, "--prune")
    changed = world.arwctl("runtime", "diff", "-f", written(world, MANIFEST.replace(":9", ":10")))
    assert changed.code == 2
    assert '- external.url = "http://127.0.0.1:9"' in changed.out
    assert '+ external.url = "http://127.0.0.1:10"' in changed.out
    emptied = written(world, "version = 1\n")
    assert world.done("runtime", "apply", "-f", emptied, "--prune") == "somebodys: removed\n"


def test_a_manifest_that_the_environment_names_is_followed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(world, MANIFEST)
    monkeypatch.setenv("ARW_RUNTIME_MANIFEST", str(file))
    world.up()
    world.until(lambda: "somebodys" in world.done("runtime", "list"), "the first load")
    beside = world.folder / "new.toml"
    beside.write_text(MANIFEST.replace("somebodys", "anothers"))
    os.replace(beside, file)  # noqa: PTH105 - what an editor does
    world.until(lambda: "anothers" in world.done("runtime", "list"), "the reload")
    assert "somebodys" not in world.done("runtime", "list")
