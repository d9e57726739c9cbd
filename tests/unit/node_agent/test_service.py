"""The agent as a service: the texts themselves, and what is written where."""

from __future__ import annotations

import configparser
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from node_agent import main
from node_agent.service.definition import Manager, Service, text_for

ANALYZE = shutil.which("systemd-analyze")
NEW_KEY = "DelegateSubgroup"
"""Of systemd 254; an older one ignores it and says so."""
SERVICE = Service(("/opt/arw/bin/arw-node-agent", "run", "--state-dir", '/srv/a "b" 100%/$x'), Path("/srv"), "models")


def sections(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_unit_signals_the_agent_alone_and_restarts_it_only_when_that_can_help() -> None:
    unit = sections(text_for(Manager.SYSTEMD, SERVICE))["Service"]
    assert (unit["KillMode"], unit["OOMPolicy"], unit["Delegate"]) == ("process", "continue", "yes")
    assert (unit["Restart"], unit["RestartPreventExitStatus"]) == ("on-failure", str(main.REFUSED))
    assert unit["User"] == "models"
    assert unit["ExecStart"].endswith(r'"--state-dir" "/srv/a \"b\" 100%%/$$x"')


def test_no_hardening_that_would_keep_engines_from_devices_or_models() -> None:
    unit = sections(text_for(Manager.SYSTEMD, SERVICE))["Service"]
    assert unit["NoNewPrivileges"] == "yes"
    assert not {"PrivateDevices", "ProtectHome", "PrivateTmp", "MemoryDenyWriteExecute"} & set(unit)


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("account", ["", "root"])
def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path: Path, account: str) -> None:
    program = tmp_path / "arw node-agent"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    file = tmp_path / "arw-node-agent.service"
    file.write_text(text_for(Manager.SYSTEMD, Service((str(program), "run"), tmp_path, account)))
    assert ANALYZE
    done = subprocess.run([ANALYZE, "verify", str(file)], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if file.name in line and NEW_KEY not in line]
    assert (done.returncode, said) == (0, [])


def test_launchd_leaves_the_engines_when_it_ends_the_agent() -> None:
    document = plistlib.loads(text_for(Manager.LAUNCHD, SERVICE).encode())
    assert document["AbandonProcessGroup"] is True
    assert document["KeepAlive"] == {"SuccessfulExit": False}
    assert document["ProgramArguments"] == list(SERVICE.command)
    assert document["UserName"] == "models"


@pytest.fixture
def unit_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "config" / "systemd" / "user" / "arw-node-agent.service"


def service(action: str, state: Path, *more: str) -> int:
    return main.main(["service", action, "--user", "--manager", "systemd", "--state-dir", str(state), *more])


def test_install_writes_once_and_uninstall_takes_it_away(
    unit_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert service("install", tmp_path / "state") == 0
    assert "systemctl --user enable --now arw-node-agent" in capsys.readouterr().out
    first = unit_file.stat()
    assert first.st_mode & 0o777 == 0o644
    assert service("install", tmp_path / "state") == 0
    assert unit_file.stat().st_ino == first.st_ino, "nothing changed, so nothing was written"
    assert service("install", tmp_path / "state", "--config", str(tmp_path / "limits.toml")) == 0
    assert '"--config"' in unit_file.read_text()
    assert service("uninstall", tmp_path / "state") == 0
    assert not unit_file.exists()
    assert service("uninstall", tmp_path / "state") == 0


def test_a_file_of_somebody_else_is_neither_replaced_nor_removed(
    unit_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unit_file.parent.mkdir(parents=True)
    unit_file.write_text("[Service]\nExecStart=/bin/true\n")
    for action in ("install", "uninstall"):
        assert service(action, tmp_path / "state") == main.REFUSED
        assert "not written by this command" in capsys.readouterr().err
    assert unit_file.read_text() == "[Service]\nExecStart=/bin/true\n"


@pytest.mark.parametrize("manager", list(Manager))
def test_print_writes_nothing(
    unit_file: Path, tmp_path: Path, manager: Manager, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["service", "print", "--manager", manager.value, "--state-dir", str(tmp_path / "state")]
    assert main.main([*words, "--user"]) == 0
    assert main.main(words) == 0
    assert "node-agent" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_makes_a_service_install_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["service", "install", "--manager", "windows", "--state-dir", str(tmp_path)]) == main.REFUSED
    assert "service print" in capsys.readouterr().err
