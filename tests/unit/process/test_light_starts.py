"""What a program loads before it can do its work is what a person waits for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FRONT = Path(__file__).parents[3] / "node_agent" / "runtimes" / "fronts" / "llama_wheel.py"
LOADED = "from wire.loading import loading\nwith loading(): import {}\n"


def loaded_by(code: str, *flags: str) -> set[str]:
    """The modules of an interpreter that ran this."""
    command = [sys.executable, *flags, "-c", f"{code}\nimport sys; print(*sys.modules, sep='\\n')"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("group", ["up", "down"])
def test_what_starts_and_stops_processes_does_not_load_the_contract_first(group: str) -> None:
    heavy = {"betterproto2", "grpclib", "h2", "arw_client.messages", "yaml", "rich", "cryptography"}
    assert not heavy & loaded_by(f"import arwctl.main, arwctl.groups.{group}")


@pytest.mark.parametrize("program", ["control_plane", "node_agent"])
def test_a_program_that_only_reads_its_options_loads_neither_grpc_nor_its_database(program: str) -> None:
    assert not {"grpc", "sqlalchemy", "structlog", "cryptography"} & loaded_by(f"import {program}.main")


def test_the_control_plane_serves_without_what_it_seldom_needs() -> None:
    loaded = loaded_by(LOADED.format("control_plane.commands"))
    assert "control_plane.app" in loaded
    assert not {"alembic", "opentelemetry.sdk", "rich", "pygments", "OpenSSL", "betterproto2"} & loaded


def test_the_agent_serves_without_what_it_seldom_needs() -> None:
    loaded = loaded_by(LOADED.format("node_agent.commands"))
    assert "node_agent.app" in loaded
    assert not {"sqlalchemy", "opentelemetry.sdk", "rich", "pygments", "pynvml", "starlette"} & loaded


def test_an_engine_does_not_wait_for_what_only_its_version_needs() -> None:
    assert "importlib.metadata" not in loaded_by(f"import runpy; runpy.run_path({str(FRONT)!r})", "-I")


def test_rich_is_there_again_once_a_program_is_loaded() -> None:
    assert "rich" in loaded_by(LOADED.format("structlog") + "import rich")


def test_what_was_loaded_is_never_looked_through_for_garbage_and_the_rest_is_again() -> None:
    code = LOADED.format("json") + "import gc; assert gc.isenabled() and gc.get_freeze_count() > 10_000"
    loaded_by(code)
