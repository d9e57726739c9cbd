from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from node_agent.commands import prepare
from node_agent.control_link.link_record import LinkRecord
from node_agent.control_link.ports import LinkState, LinkStatus
from node_agent.domain.errors import JoinFailed, StorageUnavailable
from node_agent.domain.status import Problem
from node_agent.identity.files import IdentityFiles
from node_agent.main import _server, main
from node_agent.settings import SECOND_LONG, StateDirectory, Timers, default_state_root, timers_from_environment
from node_agent.status_report import as_json, as_text, status_report
from tests.fakes.certificates import Issuer

NOW = datetime.now(UTC)


def test_the_state_directory_is_for_this_user_alone(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "deep" / "node_agent")
    prepare(state)
    state.path.chmod(0o755)
    prepare(state)
    assert state.path.stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "node_agent").write_text("")
    with pytest.raises(StorageUnavailable, match="node_agent"):
        prepare(StateDirectory(tmp_path / "node_agent"))


def test_a_link_to_somewhere_else_is_no_state_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "node_agent").symlink_to(tmp_path / "real")
    with pytest.raises(StorageUnavailable, match="not a directory of this user"):
        prepare(StateDirectory(tmp_path / "node_agent"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.5:7000", ("10.0.0.5", 7000)),
        ("example.org", ("example.org", 7444)),
        ("[::1]:7000", ("::1", 7000)),
        ("[::1]", ("::1", 7444)),
    ],
)
def test_a_server_is_a_host_with_a_port_or_the_usual_one(text: str, address: tuple[str, int]) -> None:
    assert _server(text) == address


@pytest.mark.parametrize("text", ["", ":7444", "host:port", "host:99999", "http://host:1", "me@host:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(JoinFailed, match="no address"):
        _server(text)


def test_a_refusal_goes_to_stderr_with_its_remedy_and_status_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--state-dir", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "has not joined" in said.err
    assert "arw-node-agent join" in said.err


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "nothing")
    assert main(["join", "--state-dir", str(tmp_path), "--server", "h:1", "--token-file", missing]) == 2
    assert missing in capsys.readouterr().err


def test_the_environment_chooses_directory_and_timers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARW_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("ARW_TIMERS", "test")
    assert default_state_root() == tmp_path
    assert timers_from_environment() == SECOND_LONG
    monkeypatch.delenv("ARW_TIMERS")
    assert timers_from_environment() == Timers()


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    issuer, folder = Issuer.make(), tmp_path / "home"
    folder.mkdir()
    IdentityFiles(folder).write(issuer.identity, *issuer.node("n1"), issuer.ca_pem)
    return StateDirectory(folder)


def test_the_status_of_a_dead_agent_tells_what_was_and_why(state: StateDirectory) -> None:
    problem = Problem("CERTIFICATE_REVOKED", "Node n1 was revoked.", "Make a new token.")
    shown = LinkStatus(LinkState.REFUSED, NOW - timedelta(minutes=5), NOW - timedelta(hours=3), "h:1", 4, problem)
    LinkRecord(state.link_record).show(shown)
    text = as_text(status_report(state, NOW))
    assert "does not run" in text
    assert "was refused for 5 min, last contact 3 h ago" in text
    assert "Node n1 was revoked." in text
    assert "Make a new token." in text
    assert '"reason": "CERTIFICATE_REVOKED"' in as_json(status_report(state, NOW))


def test_the_status_of_a_copy_says_where_it_came_from(state: StateDirectory, tmp_path: Path) -> None:
    files = IdentityFiles(state.path)
    files.settle()
    assert json.loads(as_json(status_report(state, NOW)))["problem"] is None
    copy = StateDirectory(shutil.copytree(state.path, tmp_path / "copy"))
    report = status_report(copy, NOW)
    assert f"brought here from {state.path}" in as_text(report)
    assert json.loads(as_json(report))["problem"]["reason"] == "NODE_MISMATCH"


def test_a_move_is_confirmed_on_the_command_line_once_the_original_is_gone(
    state: StateDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert main(["confirm-move", "--state-dir", str(tmp_path / "nothing")]) == 2
    assert "has not joined" in capsys.readouterr().err
    IdentityFiles(state.path).settle()
    moved = tmp_path / "moved"
    moved.mkdir()
    state.path.rename(tmp_path / "aside")
    shutil.copytree(tmp_path / "aside", moved / "node_agent")
    shutil.rmtree(tmp_path / "aside")
    assert main(["confirm-move", "--state-dir", str(moved)]) == 0
    assert f"Node n1 belongs to {moved / 'node_agent'} from now on" in capsys.readouterr().out
    assert status_report(StateDirectory(moved / "node_agent"), NOW).problem is None


def test_the_status_names_an_expired_certificate_without_asking_anyone(state: StateDirectory) -> None:
    later = NOW + timedelta(days=3)
    text = as_text(status_report(state, later))
    assert "expired" in text
    assert "join --force" in text


def test_the_status_file_is_not_needed(state: StateDirectory) -> None:
    assert not os.path.lexists(state.link_record)
    assert "never made" in as_text(status_report(state, NOW))
