"""What a program that knows nothing of claims needs in its environment to use one."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

from arw_client import ArwError, Context
from arw_client import messages as m
from arwctl.claiming import insisted
from arwctl.command import Call
from arwctl.plain import one_line
from arwctl.screen import YELLOW

KEY_LIFE = timedelta(days=30)
"""Of a key that nobody is left to revoke."""
TRUST = "SSL_CERT_FILE"


@asynccontextmanager
async def opened(call: Call, claim: m.Claim) -> AsyncIterator[dict[str, str]]:
    """The variables, which mean something only in the block."""
    context = Context.load(call.context_file)
    async with _key(call, claim, context) as key:
        with _trusted(context) as trust:
            yield {
                "OPENAI_BASE_URL": f"{context.http_url.rstrip('/')}/v1",
                "OPENAI_API_KEY": carrying(key, claim),
                "ARW_CLAIM": claim.id,
                **trust,
            }


def carrying(key: str, claim: m.Claim) -> str:
    """A key that brings its claim along, for clients that cannot send `X-ARW-Claim`."""
    return f"{key}~{claim.id}"


@asynccontextmanager
async def _key(call: Call, claim: m.Claim, context: Context) -> AsyncIterator[str]:
    """A new one of the claim's project, revoked after the block; of an operator's own claim the operator's token."""
    if not claim.project:
        yield context.token
        return
    request = m.CreateProjectKeyRequest(parent=claim.project, label=f"claim {claim.id}", ttl=KEY_LIFE)
    async with call.client() as client:
        made = await client.projects.create_project_key(request)
    try:
        yield made.secret_text
    finally:
        await _revoked(call, made.key or m.ProjectKey())


async def _revoked(call: Call, key: m.ProjectKey) -> None:
    request = m.RevokeProjectKeyRequest(name=key.name)
    try:
        await insisted(call, lambda client: client.projects.revoke_project_key(request))
    except ArwError as error:
        project, _, id_ = key.name.removeprefix("projects/").partition("/keys/")
        call.screen.note(f"{one_line(error)} Its key counts still: arwctl project key revoke {project} {id_}", YELLOW)


@contextmanager
def _trusted(context: Context) -> Iterator[dict[str, str]]:
    """Beyond loopback: a file with whom this machine trusts, and our control plane."""
    if not context.http_url.startswith("https:"):
        yield {}
        return
    with tempfile.NamedTemporaryFile("w", prefix="arw-trust-", suffix=".pem") as file:
        file.write(f"{_usual()}\n{context.ca_pem}")
        file.flush()
        yield {TRUST: file.name}


def _usual() -> str:
    """Whom programs here trust without us."""
    named = os.environ.get(TRUST) or ssl.get_default_verify_paths().cafile
    try:
        return Path(named).read_text() if named else ""
    except (OSError, ValueError):
        return ""
