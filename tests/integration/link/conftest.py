from __future__ import annotations

from pathlib import Path

import pytest

from node_agent.identity.files import IdentityFiles
from tests.fakes.agent_port import AgentPort
from tests.fakes.certificates import Issuer


@pytest.fixture
def issuer() -> Issuer:
    return Issuer.make()


@pytest.fixture
async def port(issuer: Issuer) -> AgentPort:
    return AgentPort(issuer)


@pytest.fixture
def files(tmp_path: Path, issuer: Issuer) -> IdentityFiles:
    """A machine that has joined."""
    files = IdentityFiles(tmp_path)
    files.write(issuer.identity, *issuer.node("n1"), issuer.ca_pem)
    return files
