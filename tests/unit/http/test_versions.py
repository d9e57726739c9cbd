from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.instance import Severity
from control_plane.domain.node import NodeState
from control_plane.http.shapes import Cluster, ClusterNode, NodeCapabilities
from control_plane.http.versions import FRESH, Version, matching, version_of
from tests.fakes.clock import NOON


def a_cluster(later: timedelta = timedelta(), *, schedulable: bool = True) -> Version:
    at = NOON + later
    node = ClusterNode(
        id="n1",
        state=NodeState.ONLINE,
        state_label="Online",
        severity=Severity.INFO,
        severity_label="Info",
        summary="Connected",
        schedulable=schedulable,
        runtimes=0,
        capabilities=NodeCapabilities(),
        last_seen=at.isoformat(),
    )
    return version_of(Cluster(nodes=[node], replicas=[], generated=at.isoformat(), ttl_seconds=60), at)


def test_one_tag_never_stands_for_two_texts() -> None:
    first, later, other = a_cluster(), a_cluster(timedelta(seconds=1)), a_cluster(schedulable=False)
    assert len({first.body, later.body, other.body}) == len({first.etag, later.etag, other.etag}) == 3


def test_what_only_grew_older_matches_until_it_is_stale() -> None:
    old = a_cluster()
    assert matching(old.etag, a_cluster(FRESH)) == old.etag
    assert matching(old.etag, a_cluster(FRESH + timedelta(seconds=1))) == ""
    assert matching(a_cluster(timedelta(seconds=1)).etag, old) == ""


def test_what_says_something_else_never_matches() -> None:
    assert matching(a_cluster().etag, a_cluster(schedulable=False)) == ""


@pytest.mark.parametrize("asked", ["W/{}", '"a", {}', '"a.b",{} , "c"'])
def test_a_tag_is_found_among_others(asked: str) -> None:
    old = a_cluster()
    assert matching(asked.format(old.etag), old) == old.etag


@pytest.mark.parametrize("asked", ["", "nonsense", '""', '"a.zz"', ".", '"abc'])
def test_what_is_no_tag_of_ours_matches_nothing(asked: str) -> None:
    assert matching(asked, a_cluster()) == ""


def test_a_star_matches_whatever_there_is() -> None:
    assert matching("*", a_cluster()) == a_cluster().etag
