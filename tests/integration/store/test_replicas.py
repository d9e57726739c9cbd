"""Replicas that are processes of their own: killed, stopped, with a wrong clock, writing all at once."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from control_plane.store.postgres import PostgresStore
from tests.fakes.patience import SLACK
from tests.fakes.postgres_replica import LIMITS, ReplicaProcess, replica_process
from tests.fakes.postgres_stores import Follower
from tests.fakes.processes import until

HOUR = timedelta(hours=1)
CHANGES = 500


@pytest.fixture
def pair(postgres_url: str) -> Iterator[tuple[ReplicaProcess, ReplicaProcess]]:
    """The first one leads; the clock of the second is an hour off."""
    with ExitStack() as stack:
        first = stack.enter_context(replica_process(postgres_url))
        until(lambda: first.ask("term"))
        second = stack.enter_context(replica_process(postgres_url, HOUR))
        until(lambda: (first.ask("living"), second.ask("living")) == (2, 2))
        yield first, second


def seconds_until_it_leads(replica: ReplicaProcess) -> float:
    began = time.monotonic()
    until(lambda: replica.ask("term"), 10 * SLACK)
    return time.monotonic() - began


def test_when_the_one_that_leads_is_killed_another_leads_soon(pair: tuple[ReplicaProcess, ReplicaProcess]) -> None:
    first, second = pair
    term = first.ask("term")
    assert second.ask("term") == 0
    assert second.ask("fenced a") == "NotLeading"
    first.send(signal.SIGKILL)
    assert seconds_until_it_leads(second) < LIMITS.lost.total_seconds() * SLACK
    assert second.ask("term") == term + 1
    until(lambda: second.ask("living") == 1, LIMITS.silent.total_seconds() * SLACK)
    assert second.ask("fenced a") == "stored"


def test_one_that_stood_still_while_it_led_writes_nothing_afterwards(
    pair: tuple[ReplicaProcess, ReplicaProcess],
) -> None:
    first, second = pair
    assert first.ask("fenced a") == "stored"
    first.send(signal.SIGSTOP)
    # It is the first thing that it reads when it goes on, and it believes still that it leads.
    first.begin("fenced b")
    taken_after = seconds_until_it_leads(second)
    assert LIMITS.lost.total_seconds() < taken_after < (LIMITS.silent.total_seconds() + 2) * SLACK
    first.send(signal.SIGCONT)
    assert first.answer() == "NotLeading"
    until(lambda: (first.ask("living"), second.ask("living")) == (2, 2), 10 * SLACK)
    assert (first.ask("term"), second.ask("term")) == (0, 2)


def test_a_clock_that_is_an_hour_off_changes_nothing(pair: tuple[ReplicaProcess, ReplicaProcess]) -> None:
    first, second = pair
    end = time.monotonic() + LIMITS.silent.total_seconds() + 1
    while time.monotonic() < end:
        assert (first.ask("term"), second.ask("term")) == (1, 0)
        assert (first.ask("living"), second.ask("living")) == (2, 2)


async def test_two_processes_that_write_at_once_share_one_history(
    pair: tuple[ReplicaProcess, ReplicaProcess], store: PostgresStore
) -> None:
    follower = Follower(store)
    following = asyncio.ensure_future(follower.follow(2 * CHANGES))
    for replica in pair:
        replica.begin(f"write {CHANGES}")
    revisions = [revision for replica in pair for revision in await asyncio.to_thread(replica.answer)]
    await asyncio.wait_for(following, 20)
    assert sorted(revisions) == follower.revisions == list(range(1, 2 * CHANGES + 1))
    events = await store.read(lambda tx: tx.journal.after(0, (), 3 * CHANGES))
    assert [event.id for event in events] == list(range(1, 2 * CHANGES + 1))
    mine = set(revisions[:CHANGES])
    assert any((revision in mine) != (revision + 1 in mine) for revision in range(2, 2 * CHANGES - 1)), (
        "they took turns"
    )
