from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import structlog

from tests.fakes.postgres import PostgresServer, postgres_server


@pytest.fixture(scope="session", autouse=True)
def interrupts_are_heard() -> None:
    """A suite in the background ignores them, and so would every program that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for each process of tests."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """An empty database."""
    return postgres.emptied()


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in its own process sets for good where lines go, and from which level on."""
    kept = structlog.get_config()
    yield
    structlog.configure(**kept)
