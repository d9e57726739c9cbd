from __future__ import annotations

from pathlib import Path

import pytest

from node_agent.control_link.fork_check import check_spawning
from node_agent.domain.errors import SpawnFailed


def test_children_that_end_by_themselves_are_fine() -> None:
    check_spawning(3)


def test_children_that_die_by_a_signal_stop_the_agent(tmp_path: Path) -> None:
    suicidal = tmp_path / "suicidal"
    suicidal.write_text("#!/bin/sh\nkill -SEGV $$\n")
    suicidal.chmod(0o700)
    with pytest.raises(SpawnFailed, match="3 of 3 child processes died by SIGSEGV"):
        check_spawning(3, str(suicidal))


def test_a_machine_without_the_program_says_so() -> None:
    with pytest.raises(SpawnFailed, match="was not found"):
        check_spawning(1, "no-such-program-here")
