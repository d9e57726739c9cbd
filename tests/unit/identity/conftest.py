from __future__ import annotations

from pathlib import Path

import pytest

from node_agent.identity.files import IdentityFiles
from tests.fakes.certificates import Issuer


@pytest.fixture
def issuer() -> Issuer:
    return Issuer.make()


@pytest.fixture
def files(tmp_path: Path, issuer: Issuer) -> IdentityFiles:
    """A machine that has joined."""
    files = IdentityFiles(tmp_path)
    key, chain = issuer.node("n1")
    files.write(issuer.identity, key, chain, issuer.ca_pem)
    return files
