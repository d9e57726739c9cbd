from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from control_plane.commands import _told
from control_plane.domain.errors import InvalidArgument
from control_plane.domain.event import EventsKept
from control_plane.reached import http_url
from control_plane.settings import Paths, Settings, state_directory
from control_plane.timers import Timers

TLS: dict[str, Any] = {"http_certificate": "c.pem", "http_key": "k.pem"}


def test_settings_survive_being_saved(tmp_path: Path) -> None:
    settings = Settings(grpc_port=1234, host="0.0.0.0", advertise="plane.example")  # noqa: S104 - the point
    settings.save(tmp_path / "settings.json")
    assert Settings.load(tmp_path / "settings.json") == settings
    assert settings.dialled == "plane.example"


def test_without_a_file_the_defaults_count(tmp_path: Path) -> None:
    loaded = Settings.load(tmp_path / "settings.json")
    assert (loaded.grpc_port, loaded.enrollment_port, loaded.relay_port, loaded.http_port) == (7443, 7444, 7445, 8091)
    assert loaded.host == "127.0.0.1"


@pytest.mark.parametrize(
    "text", ['{"grpc_prot": 1}', '{"grpc_port": "7443"}', "[1]", "{", '{"grpc_port": 70000}', '{"http_key": "k.pem"}']
)
def test_what_is_wrong_in_the_file_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(InvalidArgument):
        Settings.load(tmp_path / "settings.json")


def test_http_beyond_loopback_needs_tls() -> None:
    with pytest.raises(InvalidArgument, match="clear text"):
        Settings(http_host="0.0.0.0")  # noqa: S104 - the point
    Settings(http_host="0.0.0.0", **TLS)  # noqa: S104 - the point


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ({}, "http://127.0.0.1:8091"),
        ({"http_host": "::1"}, "http://[::1]:8091"),
        ({"http_host": "::", "host": "10.0.0.7", **TLS}, "https://10.0.0.7:8091"),
        ({"http_host": "::", "advertise": "plane.example", **TLS}, "https://plane.example:8091"),
        ({"http_host": "10.0.0.8", "advertise": "plane.example", **TLS}, "https://10.0.0.8:8091"),
    ],
)
def test_http_is_dialled_where_it_listens_and_a_wildcard_by_its_name(told: dict[str, Any], url: str) -> None:
    assert http_url(Settings(**told), 8091) == url


def test_the_socket_directory_is_short_and_of_this_user_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    paths = Paths(tmp_path / "state")
    paths.make()
    assert paths.runtime.stat().st_mode & 0o777 == 0o700
    assert paths.runtime.name.startswith("arw-")
    assert paths.runtime != Paths(tmp_path / "other").runtime


def test_a_socket_directory_that_is_a_link_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    paths = Paths(tmp_path / "state")
    (tmp_path / "elsewhere").mkdir()
    paths.runtime.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidArgument):
        paths.make()


def test_the_state_directory_comes_from_the_flag_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARW_STATE_DIR", "/somewhere")
    assert state_directory("/given") == Path("/given")
    assert state_directory(None) == Path("/somewhere")
    monkeypatch.delenv("ARW_STATE_DIR")
    assert state_directory(None) == Path.home() / ".local" / "state" / "arw"


def test_the_timers_are_chosen_by_the_environment() -> None:
    assert Timers.chosen({}).heartbeat == timedelta(seconds=10)
    assert Timers.chosen({"ARW_TIMERS": "test"}).heartbeat == timedelta(seconds=1)
    assert Timers.chosen({"ARW_NODE_CERTIFICATE_SECONDS": "5"}).node_certificate == timedelta(seconds=5)
    with pytest.raises(InvalidArgument):
        Timers.chosen({"ARW_TIMERS": "tset"})


URL = "postgresql://arw@db.example:5432/arw?sslmode=verify-full"


def test_the_database_is_the_told_one_then_the_environment_s_then_a_file() -> None:
    assert Settings(database=URL).database_url({"ARW_DATABASE": "postgres://other/db"}) == URL
    assert Settings().database_url({"ARW_DATABASE": URL}) == URL
    assert Settings(database="sqlite").database_url({"ARW_DATABASE": URL}) == ""
    assert Settings().database_url({}) == ""


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://arw:hunter2@db.example/arw",
        "postgresql://arw@db.example/arw?password=hunter2",
        "postgresql://arw@db.example/arw?sslpassword=hunter2",
        "postgresql://arw:@db.example/arw",
    ],
)
def test_a_password_is_taken_from_the_environment_or_a_private_file_alone(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="holds a password") as refusal:
        Settings(database=url)
    assert "hunter2" not in str(refusal.value)
    assert "PGPASSWORD" in refusal.value.remedy
    assert Settings().database_url({"ARW_DATABASE": url}) == url
    file = tmp_path / "database"
    file.write_text(f"{url}\n")
    file.chmod(0o640)
    with pytest.raises(InvalidArgument, match="read by others") as refusal:
        Settings(database_file=str(file)).database_url({})
    assert f"chmod 600 {file}" in refusal.value.remedy
    file.chmod(0o600)
    assert Settings(database_file=str(file)).database_url({}) == url


@pytest.mark.parametrize("url", ["mysql://db/arw", "postgresql:arw", "host=db password=hunter2", "arw.db"])
def test_what_is_no_address_is_refused_without_repeating_it(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no address of a database") as refusal:
        Settings(database=url)
    assert url not in str(refusal.value)
    with pytest.raises(InvalidArgument, match="ARW_DATABASE"):
        Settings().database_url({"ARW_DATABASE": url})
    with pytest.raises(InvalidArgument, match="cannot be read"):
        Settings(database_file=str(tmp_path / "none")).database_url({})


def test_one_database_takes_the_place_of_another() -> None:
    by_file = _told(Settings(database=URL), {"database_file": "/etc/arw/database"})
    assert (by_file.database, by_file.database_file) == ("", "/etc/arw/database")
    again = _told(by_file, {"database": "sqlite"})
    assert (again.database, again.database_file) == ("sqlite", "")
    assert _told(by_file, {"host": "10.0.0.1"}).database_file == "/etc/arw/database"


def test_how_many_events_are_kept_is_said_by_settings_else_by_the_environment() -> None:
    environment = {"ARW_EVENTS_DAYS": "7", "ARW_EVENTS_ROWS": "5000"}
    assert Settings().events_kept({}) == EventsKept(timedelta(days=30), 1_000_000)
    assert Settings().events_kept(environment) == EventsKept(timedelta(days=7), 5000)
    assert Settings(events_days=90).events_kept(environment) == EventsKept(timedelta(days=90), 5000)


@pytest.mark.parametrize("said", [{"events_days": -1}, {"events_days": 3651}, {"events_rows": 10}])
def test_a_journal_that_keeps_nothing_or_for_ever_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="cannot be") as refusal:
        Settings(**said)
    assert refusal.value.remedy


@pytest.mark.parametrize("said", ["-1", "a month", "0.5", "99999"])
def test_days_that_are_no_days_are_refused(said: str) -> None:
    with pytest.raises(InvalidArgument, match="ARW_EVENTS_DAYS"):
        Settings().events_kept({"ARW_EVENTS_DAYS": said})
