"""Which step of a rotation comes next, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arw_client import display_id
from arw_client import messages as m

NAMED = 5


@dataclass(frozen=True, slots=True)
class Next:
    step: str
    """ "prepare", "activate", "taint" or "revoke"."""
    waits_for: str = ""
    """In words; empty: it can be taken now."""


def next_step(found: m.CertificateAuthorities) -> Next:
    """Wherever the last rotation stopped; a new one when none is under way."""
    by_state = {one.state_slug: one for one in found.authorities}
    if "prepared" in by_state:
        return Next("activate", _unready(found))
    if "old" in by_state:
        return Next("taint")
    if tainted := by_state.get("tainted"):
        return Next("revoke", _holders(tainted))
    return Next("prepare")


def _unready(found: m.CertificateAuthorities) -> str:
    if not found.unready_count:
        return ""
    return f"{_counted(found.unready_count, 'node')} to trust the new authority: {_named(found.unready_nodes)}"


def _holders(tainted: m.CertificateAuthority) -> str:
    if not tainted.nodes and not tainted.operators:
        return ""
    nodes, operators = _counted(tainted.nodes, "node"), _counted(tainted.operators, "operator")
    return f"{nodes} and {operators} to renew their certificates"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _named(nodes: Sequence[str]) -> str:
    return ", ".join(map(display_id, nodes[:NAMED])) + (", ..." if len(nodes) > NAMED else "")
