"""What the node's owner lets instances attach to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node_agent.domain.errors import LocalPolicyDenied, SpecInvalid
from node_agent.main import REFUSED, main
from node_agent.runtimes.attachable import Attachable, address_of, canonical, is_loopback


@pytest.fixture
def attachable(tmp_path: Path) -> Attachable:
    return Attachable(tmp_path / "attachable.json")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "::1"])
def test_this_machine_is_known_by_its_loopback_addresses(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "localhost.evil.example", "box", "169.254.169.254"])  # noqa: S104
def test_any_other_address_is_another_machine(host: str, attachable: Attachable) -> None:
    assert not is_loopback(host)
    with pytest.raises(LocalPolicyDenied):
        attachable.check(f"http://{host}:80")


def test_one_address_has_one_spelling() -> None:
    assert canonical("http://Box:80/") == canonical("http://box") == "http://box:80"
    assert canonical("http://[::1]:8000") == "http://[::1]:8000"
    assert address_of("http://[::1]:8000") == ("::1", 8000)


@pytest.mark.parametrize("url", ["", "box:80", "http://", "http://a:99999", "http://a/b", "http://a?b", "ftp://a"])
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(SpecInvalid) as caught:
        address_of(url)
    assert "http://HOST:PORT" in caught.value.remedy


def test_allowing_one_address_allows_no_other(attachable: Attachable) -> None:
    attachable.allow("http://10.0.0.9:8000", None)
    attachable.check("http://10.0.0.9:8000/")
    for other in ("http://10.0.0.9:8001", "http://10.0.0.8:8000"):
        with pytest.raises(LocalPolicyDenied):
            attachable.check(other)


def test_the_newest_word_on_an_address_counts(attachable: Attachable, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k\n")
    attachable.allow("http://10.0.0.9:8000", tmp_path / "key")
    assert attachable.key("http://10.0.0.9:8000") == "k"
    attachable.allow("http://10.0.0.9:8000", None)
    assert attachable.key("http://10.0.0.9:8000") == ""


def test_a_key_that_cannot_be_read_is_said(attachable: Attachable, tmp_path: Path) -> None:
    attachable.allow("http://127.0.0.1:8000", tmp_path / "nothing")
    with pytest.raises(LocalPolicyDenied) as caught:
        attachable.key("http://127.0.0.1:8000")
    assert str(tmp_path / "nothing") in caught.value.text


def test_a_broken_list_allows_nothing(attachable: Attachable, tmp_path: Path) -> None:
    (tmp_path / "attachable.json").write_text("{")
    with pytest.raises(LocalPolicyDenied):
        attachable.check("http://10.0.0.9:8000")


def test_the_owner_allows_an_address_by_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_text("secret-of-theirs")
    words = ["trust", "external", "http://10.0.0.9:8000/", "--key-file", str(tmp_path / "key")]
    assert main([*words, "--state-dir", str(tmp_path)]) == 0
    assert "http://10.0.0.9:8000" in capsys.readouterr().out
    stored = (tmp_path / "node_agent" / "attachable.json").read_text()
    assert json.loads(stored) == [{"url": "http://10.0.0.9:8000", "key_file": str(tmp_path / "key")}]
    assert "secret-of-theirs" not in stored


@pytest.mark.parametrize(
    "words",
    [
        ("trust", "nothing", "/bin/true"),
        ("trust", "process", "/bin/sh"),
        ("trust", "process", "/bin/true", "--key-file", "/k"),
        ("trust", "external", "/bin/true"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_a_reason(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--state-dir", str(tmp_path)]) == REFUSED
    assert capsys.readouterr().err.strip()
