"""The command that runs another one under a claim; `arwctl.groups.claim` names it."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from arw_client import ArwError
from arw_client import messages as m
from arw_client.holding import Holding
from arwctl import claim_door
from arwctl.claiming import News, given_up, waited
from arwctl.command import Call
from arwctl.local.errand import BY_SIGNAL, Errand, heard_by
from arwctl.plain import one_line
from arwctl.screen import RED
from arwctl.targets import seconds

CANNOT_RUN, NOT_FOUND = 126, 127
"""As shells say it."""


async def execute(
    call: Call,
    request: m.AcquireClaimRequest,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="What to run.", show_default=False)],
    *,
    end_when_lost: Annotated[
        bool, typer.Option("--end-when-lost", help="Send it SIGTERM when the claim is lost for good.")
    ] = False,
    patience: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="For the claim, such as 90s or 5m; else for ever.")
    ] = "",
) -> int:
    """Run a command that has a claim: wait for it, renew it meanwhile, release it at the end.

    The command finds OPENAI_BASE_URL, OPENAI_API_KEY and ARW_CLAIM in its environment, so that any OpenAI client uses
    the claim. It gets our signals, and its exit code is ours (128 + the signal that ended it).

    Examples:
    arwctl claim exec --model tiny-chat -- python ask.py
    arwctl claim exec -m llama-3 -p team-a --exclusive --fallback tiny-chat --end-when-lost -- ./night-job --all
    """
    patience_s = seconds(patience) if patience else None
    if shutil.which(command[0]) is None:
        return refused(call, command[0], "there is no such program", NOT_FOUND)
    request.wait = True
    execution = _Execution(call, command, end_when_lost=end_when_lost)
    with heard_by(execution.hear):
        return await execution.run(request, patience_s)


class _Execution:
    """Before the command runs a signal ends us; then it is the command's."""

    def __init__(self, call: Call, command: Sequence[str], *, end_when_lost: bool) -> None:
        self._call = call
        self._command = command
        self._end_when_lost = end_when_lost
        self._errand: Errand | None = None
        self._cut: signal.Signals | None = None
        self._ours = asyncio.current_task()

    def hear(self, number: signal.Signals) -> None:
        if self._errand is not None:
            self._errand.hear(number)
        elif self._cut is None and self._ours is not None:
            self._cut = number
            self._ours.cancel()

    async def run(self, request: m.AcquireClaimRequest, patience_s: float | None) -> int:
        try:
            return await self._under(await waited(self._call, request, patience_s))
        except asyncio.CancelledError:
            if self._cut is None:
                raise
            return BY_SIGNAL + self._cut

    async def _under(self, claim: m.Claim) -> int:
        news = News(self._call.screen, claim)
        try:
            async with claim_door.opened(self._call, claim) as variables:
                return await self._beside(news, variables)
        finally:
            await given_up(self._call, news.claim)

    async def _beside(self, news: News, variables: Mapping[str, str]) -> int:
        """The command, while its claim is kept."""
        try:
            self._errand = errand = await Errand.begin(self._command, variables)
        except OSError as error:
            return refused(self._call, self._command[0], error.strerror or "unknown", CANNOT_RUN)
        keeping = asyncio.create_task(self._keep(news, errand))
        try:
            return await errand.status()
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])

    async def _keep(self, news: News, errand: Errand) -> None:
        try:
            await Holding(self._call.client, news.claim, news.hear).run()
        except ArwError as error:
            self._call.screen.note(f"{news.claim.id}: it is renewed no more. {one_line(error)}", RED)
        if self._end_when_lost:
            errand.send(signal.SIGTERM)


def refused(call: Call, program: str, why: str, code: int) -> int:
    remedy = "Name a program that can be run, with its path if need be."
    call.screen.error(ArwError("INVALID_ARGUMENT", f"{program} cannot be run: {why}.", remedy))
    return code
