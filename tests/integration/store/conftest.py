from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from control_plane.store.postgres import PostgresStore
from control_plane.store.postgres_link import Patience
from tests.fakes.postgres_boards import IMPATIENT, SOON, Member, acquainted
from tests.fakes.postgres_stores import opened

HASTY = Patience(lock=timedelta(milliseconds=300), idle_in_transaction=timedelta(milliseconds=300))


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    async with opened(postgres_url) as made:
        yield made


@pytest.fixture
async def other(postgres_url: str, store: PostgresStore) -> AsyncIterator[PostgresStore]:
    """Another process's store of the same database."""
    async with opened(postgres_url) as made:
        yield made


@pytest.fixture
async def hasty(postgres_url: str) -> AsyncIterator[PostgresStore]:
    async with opened(postgres_url, HASTY) as made:
        yield made


@pytest.fixture
def foreign(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of somebody else, whose transactions are his own affair."""
    with psycopg.connect(postgres_url) as connection:
        yield connection


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[list[PostgresStore]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(postgres_url, IMPATIENT)) for _ in range(3)]


@pytest.fixture
async def trio(stores: list[PostgresStore]) -> list[Member]:
    return await acquainted(stores)


@pytest.fixture
async def mortal_trio(stores: list[PostgresStore]) -> list[Member]:
    """Who is silent for a second is dead."""
    return await acquainted(stores, SOON)
