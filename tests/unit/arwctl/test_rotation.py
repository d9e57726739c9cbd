"""Where a rotation goes on, and what it waits for."""

from __future__ import annotations

import pytest

from arw_client import messages as m
from arwctl.rotation import Next, next_step


def found(*states: str, unready: int = 0, nodes: int = 0, operators: int = 0) -> m.CertificateAuthorities:
    """The counts are those of a tainted one."""
    authorities = [
        m.CertificateAuthority(id="aa", state_slug=state, nodes=nodes, operators=operators)
        if state == "tainted"
        else m.CertificateAuthority(id="bb", state_slug=state, nodes=1)
        for state in states
    ]
    names = [f"nodes/n{number}" for number in range(unready)]
    return m.CertificateAuthorities(authorities=authorities, unready_nodes=names, unready_count=unready)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (found("active"), Next("prepare")),
        (found("active", "revoked"), Next("prepare")),
        (found("active", "prepared"), Next("activate")),
        (found("active", "old", unready=3), Next("taint")),
        (found("active", "tainted"), Next("revoke")),
        (found("active", "prepared", "revoked"), Next("activate")),
    ],
)
def test_a_rotation_goes_on_where_the_last_one_stopped(seen: m.CertificateAuthorities, expected: Next) -> None:
    assert next_step(seen) == expected


def test_it_waits_for_those_who_would_be_left_out() -> None:
    assert next_step(found("active", "prepared", unready=2)).waits_for == "2 nodes to trust the new authority: n0, n1"
    assert next_step(found("active", "prepared", unready=9)).waits_for.endswith("n4, ...")
    held = next_step(found("active", "tainted", nodes=1, operators=2))
    assert held == Next("revoke", "1 node and 2 operators to renew their certificates")
