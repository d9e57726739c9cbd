"""Claims that are held for a while: waited for, renewed at a third of their life, and followed.

    dial = lambda: connect(Context.load(path))
    request = AcquireClaimRequest(project="projects/team-a", claim=RuntimeClaim(model_tag="tiny-chat"))
    claim = await acquired(dial, request, told)
    if claim.state is ClaimState.GRANTED:
        holding = Holding(dial, claim, told)
        ...  # await holding.run() beside the work, in a task of its own; then
        await released(dial, claim)

Each call dials anew, so that a control plane that was away, or whose authority was rotated, is found again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from arw_client import messages as m
from arw_client.calls import AWAY
from arw_client.client import Client
from arw_client.errors import ArwError

Dial = Callable[[], AbstractAsyncContextManager[Client]]
Told = Callable[[m.Claim], None]
Talk = Callable[[Client], Awaitable[None]]

OVER = {m.ClaimState.RELEASED, m.ClaimState.EXPIRED, m.ClaimState.REVOKED, m.ClaimState.REJECTED}
USUAL_TTL = timedelta(seconds=300)
PASSING = AWAY | {"DEADLINE_EXCEEDED", "RATE_LIMITED", "CONTEXT_INVALID"}
"""Reasons that end by themselves, or once a person has seen to it."""
RETRY_S = 1.0


async def acquired(dial: Dial, request: m.AcquireClaimRequest, told: Told) -> m.Claim:
    """The claim once it is granted or over, or at once where the request does not wait; each change is told.

    Whether there is a control plane at all shows at the start; from then on it may go and come back.
    """
    request = replace(request, request_id=request.request_id or str(uuid4()))
    claim = m.Claim()
    while True:
        try:
            async with dial() as client:
                async for answer in client.claims.acquire_claim(request):
                    claim = answer.claim or claim
                    told(claim)
        except ArwError as error:
            if error.reason not in PASSING or not claim.name:
                raise
        if not request.wait or claim.state in {*OVER, m.ClaimState.GRANTED}:
            return claim
        await asyncio.sleep(RETRY_S)


async def released(dial: Dial, claim: m.Claim) -> m.Claim:
    """The claim, over."""
    async with dial() as client:
        return (await client.claims.release_claim(m.ReleaseClaimRequest(name=claim.name))).claim or claim


class Holding:
    """Keeps a claim that was granted until it is over, or whoever runs this has had enough."""

    def __init__(self, dial: Dial, claim: m.Claim, told: Told) -> None:
        """`told`: called with the claim after each change, its end included."""
        self._dial = dial
        self._told = told
        self.claim = claim
        """As it was heard of last."""

    @property
    def period_s(self) -> float:
        """How long from one renewal to the next."""
        ttl = self.claim.order.ttl if self.claim.order else None
        return (ttl or USUAL_TTL).total_seconds() / 3

    async def run(self) -> None:
        """Until the claim is over. ArwError where it cannot be kept although nobody says that it is over."""
        loops = [asyncio.create_task(self._renew()), asyncio.create_task(self._follow())]
        try:
            ended, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            ended.pop().result()
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _renew(self) -> None:
        while self.claim.state not in OVER:
            answered = await self._tried(self._renewed)
            await asyncio.sleep(self.period_s if answered else RETRY_S)

    async def _follow(self) -> None:
        while self.claim.state not in OVER:
            await self._tried(self._followed)
            await asyncio.sleep(RETRY_S)

    async def _tried(self, talk: Talk) -> bool:
        """Whether there was anybody to talk to."""
        try:
            async with self._dial() as client:
                await talk(client)
        except ArwError as error:
            if error.reason not in PASSING:
                raise
            return False
        return True

    async def _renewed(self, client: Client) -> None:
        try:
            answer = await client.claims.renew_claim(m.RenewClaimRequest(name=self.claim.name))
        except ArwError as error:
            if error.reason != "NOTHING_HELD":
                raise
            await self._looked(client)
        else:
            self._heard(answer.claim)

    async def _followed(self, client: Client) -> None:
        await self._looked(client)
        async for answer in client.claims.watch_claims(m.WatchClaimsRequest(name=self.claim.name)):
            self._heard(None if answer.deleted else answer.claim)
            if self.claim.state in OVER:
                return

    async def _looked(self, client: Client) -> None:
        self._heard((await client.claims.get_claim(m.GetClaimRequest(name=self.claim.name))).claim)

    def _heard(self, claim: m.Claim | None) -> None:
        if claim is None:
            return
        before, self.claim = self.claim, claim
        if _gist(before) != _gist(claim):
            self._told(claim)


def _gist(claim: m.Claim) -> tuple[object, ...]:
    """What its holder wants to hear of."""
    return claim.state, claim.hold, claim.notice
