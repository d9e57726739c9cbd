"""Waiting for a claim, following it, and giving it up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

from arw_client import ArwError, Client
from arw_client import messages as m
from arw_client.holding import OVER, PASSING, RETRY_S, acquired
from arwctl import claim_view
from arwctl.command import Call
from arwctl.plain import one_line
from arwctl.screen import YELLOW, Screen

Answer = TypeVar("Answer")
INSIST_S = 10.0
"""How long what has to be said at the end is said again."""


class News:
    """What is heard of one claim; each change is told once."""

    def __init__(self, screen: Screen, claim: m.Claim | None = None) -> None:
        self.claim = claim or m.Claim()
        self._screen = screen

    def hear(self, claim: m.Claim) -> None:
        before, self.claim = self.claim, claim
        said = claim_view.line(claim)
        if not before.name or said != claim_view.line(before):
            good = claim.state in {m.ClaimState.QUEUED, m.ClaimState.RESERVED, m.ClaimState.GRANTED}
            self._screen.note(one_line(said), *([] if good and not claim.notice else [YELLOW]))

    def hear_in_line(self, claim: m.Claim) -> None:
        """The same, but for its end, which who waits is told by an error."""
        if claim.state in OVER:
            self.claim = claim
        else:
            self.hear(claim)


async def waited(call: Call, request: m.AcquireClaimRequest, patience_s: float | None) -> m.Claim:
    """The claim once it is granted; who stops waiting gives it up. ArwError: it ended, or it took longer."""
    news = News(call.screen)
    try:
        async with asyncio.timeout(patience_s):
            claim = await acquired(call.client, request, news.hear_in_line)
    except TimeoutError:
        await given_up(call, news.claim)
        raise _late(news.claim, f"{patience_s:g} s") from None
    except asyncio.CancelledError:
        await given_up(call, news.claim)
        raise
    if (error := claim_view.failure(claim)) is not None:
        raise error
    return claim


def _late(claim: m.Claim, patience: str) -> ArwError:
    why = f" ({claim_view.waiting(claim.wait)})" if claim.wait else ""
    return ArwError(
        "NOT_READY",
        f"{f'Claim {claim.id}' if claim.id else 'A claim'} was not granted within {patience}{why}, and was given up.",
        "See who holds what: `arwctl claim list --live`; wait longer, or say what else would do with --fallback.",
    )


async def given_up(call: Call, claim: m.Claim) -> None:
    """Released, if there is one. Where nobody can be told, it ends when it expires."""
    if not claim.name or claim.state in OVER:
        return
    request = m.ReleaseClaimRequest(name=claim.name)
    try:
        answer = await insisted(call, lambda client: client.claims.release_claim(request))
    except ArwError as error:
        call.screen.note(f"{claim.id}: not released, so it ends when it expires. {one_line(error)}", YELLOW)
    else:
        call.screen.note(one_line(claim_view.line(answer.claim or claim)))


async def insisted(call: Call, talk: Callable[[Client], Awaitable[Answer]]) -> Answer:
    """What is answered, for a while also by a control plane that is away now."""
    end = asyncio.get_running_loop().time() + INSIST_S
    while True:
        try:
            async with call.client() as client:
                return await talk(client)
        except ArwError as error:
            if error.reason not in PASSING or asyncio.get_running_loop().time() > end:
                raise
        await asyncio.sleep(RETRY_S)


async def changes(call: Call, request: m.WatchClaimsRequest) -> AsyncGenerator[m.Claim, None]:
    """Each claim as it is and after each change; what was forgotten is left out.

    Whether there is a control plane at all shows at the start; from then on it may go and come back.
    """
    heard = False
    while True:
        try:
            async with call.client() as client:
                async for claim in _heard(client, request):
                    heard = True
                    yield claim
        except ArwError as error:
            if error.reason not in PASSING or not heard:
                raise
            call.screen.note(f"{one_line(error.text)} Trying again.")
        await asyncio.sleep(RETRY_S)


async def _heard(client: Client, request: m.WatchClaimsRequest) -> AsyncIterator[m.Claim]:
    if request.name:
        # A watch does not begin with what is over.
        yield (await client.claims.get_claim(m.GetClaimRequest(request.name, request.project))).claim or m.Claim()
    async for answer in client.claims.watch_claims(request):
        if answer.claim is not None and not answer.deleted:
            yield answer.claim
