"""What `check` says of a machine, whatever it lacks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node_agent import main
from node_agent.check.finding import Finding, Level, as_text, can_serve
from node_agent.check.means import of_devices, of_engines, of_limits, of_room
from node_agent.domain.hours import Hours
from node_agent.domain.inventory import Accelerator, DeviceHealth, Engine
from node_agent.domain.limits import Choice, Limits
from node_agent.domain.spec import ExecutionMode
from node_agent.domain.status import Problem
from node_agent.local_limits.amounts import windows
from node_agent.runtimes.trust import not_trusted

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LLAMA = Engine("llama.cpp", ("/opt/llama-server",), (("/opt/llama-server", "ab"),), "b7000")
FILE = "/etc/node_agent.toml"


def as_it_was(_engine: Engine) -> None:
    """Nothing changed since it was trusted."""


def changed(engine: Engine) -> None:
    raise not_trusted(engine.adapter, Path(engine.command[0]), "It has changed.")


def test_a_machine_that_joined_nothing_is_told_what_to_do_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["check", "--state-dir", str(tmp_path), "--output", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    wrong = {finding["about"]: finding["remedy"] for finding in told["findings"] if finding["level"] == "wrong"}
    assert "arw-node-agent join" in wrong["identity"]
    assert "arw-node-agent trust" in wrong["engines"]
    assert list(tmp_path.iterdir()) == []


def test_a_named_file_that_is_missing_keeps_the_machine_from_serving(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["check", "--state-dir", str(tmp_path), "--config", str(tmp_path / "none.toml")]) == 1
    assert "none.toml cannot be followed, so nothing new is started: No such file" in capsys.readouterr().out


def test_one_engine_that_may_run_is_enough() -> None:
    assert can_serve(list(of_engines([LLAMA], as_it_was, Limits())))
    assert not can_serve(list(of_engines([LLAMA], changed, Limits())))
    denied = Limits(file=FILE, adapters=Choice(deny=frozenset({"llama.cpp"})))
    found = list(of_engines([LLAMA], as_it_was, denied))
    assert not can_serve(found)
    assert f"rule adapters.deny in {FILE}" in found[0].text


def test_each_limit_in_force_is_told_in_words() -> None:
    limits = Limits(
        file=FILE,
        adapters=Choice(allow=frozenset({"vllm"})),
        modes=frozenset({ExecutionMode.CONTAINER}),
        max_runtimes=2,
        memory_bytes=3 << 30,
        hours=Hours(UTC, "UTC", windows("sat 00:00-24:00")),
    )
    found = list(of_limits(limits, "nodes/n", NOW))
    text = as_text(found)
    for words in (
        "only the adapters vllm",
        "modes: container",
        "at most 2 runtimes",
        "3.0 GiB",
        "what runs is stopped",
    ):
        assert words in text
    assert "it opens sat 00:00 (UTC)" in text
    assert can_serve(found)
    assert not can_serve(list(of_limits(Limits(file=FILE, modes=frozenset()), "nodes/n", NOW)))


def test_an_engine_whose_mode_the_owner_does_not_allow_serves_nobody() -> None:
    contained = Limits(file=FILE, modes=frozenset({ExecutionMode.CONTAINER}))
    found = list(of_engines([LLAMA], as_it_was, contained))
    assert not can_serve(found)
    assert f"rule modes in {FILE}" in found[0].text
    assert can_serve(list(of_engines([replace(LLAMA, image="llama:1")], as_it_was, contained)))


def test_devices_are_told_with_their_troubles_and_stop_nobody() -> None:
    broken = Accelerator(
        "0000:01:00.0", "gpu_cuda", "H200", health=DeviceHealth.UNUSABLE, problem=Problem("X", "Lost.")
    )
    good = Accelerator("GPU-1", "gpu_cuda", "H100", health=DeviceHealth.OK)
    found = list(of_devices([broken, good], [Problem("X", "A probe hangs.")], Limits()))
    assert [finding.level for finding in found] == [Level.NOTE, Level.OK, Level.NOTE]
    assert "H200 (gpu_cuda) is unusable: Lost." in found[0].text
    assert next(of_devices([], [], Limits())).level is Level.NOTE


def test_room_is_told_of_a_folder_that_is_not_made_yet(tmp_path: Path) -> None:
    disk, memory = of_room(tmp_path / "a" / "b", 8 << 30)
    assert str(tmp_path) in disk.text
    assert memory == Finding("memory", Level.OK, "8.0 GiB for this agent and its engines")
