"""The link's state in a file, so that `status` can tell it also when the agent is dead."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from node_agent.control_link.ports import LinkState, LinkStatus
from node_agent.domain.status import Problem
from wire.atomic_file import write_atomically

_log = structlog.get_logger()


class LinkRecord:
    """A StatusBoard. A disk that cannot be written costs the record, not the link."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def show(self, status: LinkStatus) -> None:
        reason = status.problem.reason if status.problem else None
        _log.info("link_state", state=status.state.value, server=status.server, reason=reason)
        try:
            write_atomically(self._path, json.dumps(link_json(status)).encode() + b"\n")
        except OSError as error:
            _log.warning("link_state_not_written", path=str(self._path), error=str(error))

    def read(self) -> LinkStatus | None:
        """What was shown last; None when nothing was, or it cannot be read."""
        try:
            return _from_json(json.loads(self._path.read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return None


def link_json(status: LinkStatus) -> dict[str, Any]:
    return {
        "state": status.state.value,
        "since": status.since.isoformat(),
        "last_contact": status.last_contact.isoformat() if status.last_contact else None,
        "server": status.server,
        "session_epoch": status.session_epoch,
        "problem": problem_json(status.problem),
    }


def problem_json(problem: Problem | None) -> dict[str, str] | None:
    return {"reason": problem.reason, "text": problem.text, "remedy": problem.remedy} if problem else None


def _from_json(record: dict[str, Any]) -> LinkStatus:
    contact, problem = record["last_contact"], record["problem"]
    return LinkStatus(
        LinkState(record["state"]),
        datetime.fromisoformat(record["since"]),
        datetime.fromisoformat(contact) if contact else None,
        record["server"],
        record["session_epoch"],
        Problem(**problem) if problem else None,
    )
