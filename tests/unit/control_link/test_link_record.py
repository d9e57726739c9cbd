from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from node_agent.control_link.link_record import LinkRecord
from node_agent.control_link.ports import LinkState, LinkStatus
from node_agent.domain.status import Problem

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_what_was_shown_is_read_back(tmp_path: Path) -> None:
    problem = Problem("CERTIFICATE_REVOKED", "It was revoked.", "Join again.")
    shown = LinkStatus(LinkState.REFUSED, NOON, NOON, "127.0.0.1:7443", 7, problem)
    record = LinkRecord(tmp_path / "link.json")
    assert record.read() is None
    record.show(shown)
    assert record.read() == shown


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "link.json").write_text('{"state": "sleeping"}')
    assert LinkRecord(tmp_path / "link.json").read() is None


def test_a_directory_that_cannot_be_written_does_not_stop_the_link(tmp_path: Path) -> None:
    record = LinkRecord(tmp_path / "gone" / "link.json")
    record.show(LinkStatus(LinkState.CONNECTING, NOON))
    assert record.read() is None
