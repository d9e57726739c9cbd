"""Who has a session of the database and is not the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from control_plane.store.board_tables import CHANNEL as BOARD_CHANNEL
from control_plane.store.postgres_ear import CHANNEL
from tests.fakes.postgres import PostgresServer, postgres_server
from tests.fakes.postgres_stores import Follower, opened
from tests.fakes.stores import put_node

CHANGES, NOTICES = 40, 3000
FORGED = ("", "0", "-1", "9223372036854775807", "x" * 7000, "'; DROP TABLE nodes; --", "1 OR 1=1", "\x01")


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server() as made:
        yield made


def shout(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(NOTICES):
            channel = (CHANNEL, BOARD_CHANNEL)[number % 2]
            connection.execute("SELECT pg_notify(%s, %s)", [channel, FORGED[number // 2 % len(FORGED)]])


async def test_t39_forged_notices_wake_and_tell_nothing(server: PostgresServer) -> None:
    url = server.new_database()
    async with opened(url) as store, opened(url) as other:
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("CREATE ROLE stranger LOGIN")
        heard: list[int] = []
        stop = other.on_change(heard.append)
        follower = Follower(other)
        shouting = asyncio.create_task(asyncio.to_thread(shout, url.replace("arw@", "stranger@")))
        following = asyncio.create_task(follower.follow(CHANGES))
        for number in range(CHANGES):
            await store.write(put_node(f"n{number}"))
        await asyncio.wait_for(following, 10)
        await shouting
        stop()
    assert follower.revisions == list(range(1, CHANGES + 1)), "none missed, none twice, none made up"
    assert heard == sorted(set(heard)), "nobody is woken for nothing"
    assert heard[-1] == CHANGES


async def test_t39_another_role_of_the_database_reads_and_writes_nothing(server: PostgresServer) -> None:
    url = server.new_database()
    async with opened(url) as store:
        await store.write(put_node("n1"))
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("CREATE ROLE stranger LOGIN")
        with psycopg.connect(url.replace("arw@", "stranger@"), autocommit=True) as stranger:
            for words in (
                "SELECT * FROM nodes",
                "DELETE FROM nodes",
                "UPDATE meta SET revision = 0",
                "DROP TABLE nodes",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    stranger.execute(words.encode())
        assert [node.id for node in await store.read(lambda tx: tx.nodes.all())] == ["n1"]
