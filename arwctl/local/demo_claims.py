"""A claim that outlives its node: two nodes on this machine, and one of them dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from arw_client import ArwError, Chat, Client, Prompt, TimedOutError, question, resource_name
from arw_client import messages as m
from arwctl import applying, claim_view, manifest
from arwctl.claim_door import carrying
from arwctl.claiming import given_up, waited
from arwctl.command import Call
from arwctl.following import Following
from arwctl.groups.chat import waiting
from arwctl.groups.events import print_event
from arwctl.local import joining
from arwctl.local.demo_kinds import tiny_models
from arwctl.local.down import down
from arwctl.local.leftovers import left
from arwctl.local.machine import Machine, Newcomer
from arwctl.local.ports import free_ports
from arwctl.local.up import up
from arwctl.plain import one_line

READY_S = 120.0
SWITCH_S = 120.0
READ = 20
"""Pieces of the answer before its node dies."""
STORY, SPARE = "story", "tiny-chat"
LAST = "runtime.fallback.engaged"
MANIFEST = """\
version = 1

[[models]]
id = "story"
path = "story.gguf"

[[models]]
id = "tiny-chat"
path = "tiny-chat.gguf"

[[runtimes]]
id = "story"
adapter = "llama.cpp"
model = "story"
auto_start = true
accelerator = "cpu"
node_selector = { demo = "second" }
[runtimes.settings]
context_length = 4096
slots = 1
threads = 1

[[runtimes]]
id = "tiny-chat"
adapter = "llama.cpp"
model = "tiny-chat"
auto_start = true
accelerator = "cpu"
node_selector = { demo = "first" }
[runtimes.settings]
context_length = 1024
slots = 1
threads = 1
"""


class ClaimsDemo:
    """One run in a folder of its own, on ports that nobody uses."""

    def __init__(self, call: Call, folder: Path) -> None:
        self._call = call
        self._screen = call.screen
        self._folder = folder
        self._second = Call(folder / "second", folder / "second" / "context.json", call.screen)

    async def run(self) -> None:
        try:
            await self._steps()
        finally:
            await down(self._second)

    async def _steps(self) -> None:
        self._screen.line("1. A control plane with two nodes, and a runtime on each")
        await asyncio.to_thread(self._make_models)
        await up(self._call, free_ports(), Newcomer("first"))
        async with self._call.client() as client:
            await self._join(client)
            await self._apply(client)
            self._screen.line(f"\n2. Claim {STORY}, and {SPARE} should that fail")
            claim = await self._claim()
            try:
                await self._disrupted(client, claim)
            finally:
                await given_up(self._call, claim)

    async def _disrupted(self, client: Client, claim: m.Claim) -> None:
        newest = await client.state.list_events(m.ListEventsRequest(page_size=1))
        self._screen.line(f"\n3. Ask {STORY} under the claim, and kill its node (kill -9) while it answers")
        await self._broken_off(claim, client)
        self._screen.line("\n4. What the control plane makes of it")
        await self._switched(client, max(event.id for event in newest.events))
        self._screen.line(f"\n5. Ask {STORY} again under the same claim: {SPARE} answers")
        await self._ask(claim, client)

    def _make_models(self) -> None:
        maker = tiny_models()
        maker.write(self._folder / "story.gguf", maker.Recipe(style="random", pad_mb=10))
        maker.write(self._folder / "tiny-chat.gguf")

    async def _join(self, client: Client) -> None:
        machine = Machine(self._second.state_dir, self._second.context_file)
        machine.state_dir.mkdir(mode=0o700)
        agent = await joining.agent(self._screen, machine, client, machine.begin_joining(Newcomer("second")))
        self._screen.note(f"node: {await joining.online(machine, client, agent)} is online")
        for name in ("first", "second"):
            node = m.Node(name=resource_name("nodes", name), labels={"demo": name}, schedulable=True)
            mask = m.FieldMask(paths=["labels"])
            await client.nodes.update_node(m.UpdateNodeRequest(node=node, update_mask=mask))

    async def _apply(self, client: Client) -> None:
        file = self._folder / "claims.toml"
        file.write_text(MANIFEST)
        applied = await applying.apply(client, self._call, manifest.read(file), validate_only=False)
        applying.tell(self._screen, applied, validate_only=False)
        await applying.wait(client, self._screen, applied, READY_S)

    async def _claim(self) -> m.Claim:
        order = m.RuntimeClaim(
            model_tag=STORY,
            max_disruption=timedelta(seconds=3),
            fallbacks=[m.ClaimRequirement(model_tag=SPARE)],
        )
        claim = await waited(self._call, m.AcquireClaimRequest(claim=order, wait=True), READY_S)
        claim_view.describe(self._screen, claim)
        return claim

    async def _broken_off(self, claim: m.Claim, client: Client) -> None:
        """The typed error that ends the open answer."""
        prompt = Prompt(STORY, [question("tell me a story")], {"max_tokens": 3500})
        pieces = 0
        try:
            async with aclosing(self._chat(claim, client).stream(prompt, waiting(self._call))) as story:
                async for _ in story:
                    pieces += 1
                    if pieces == READ:
                        self._kill()
        except ArwError as error:
            self._screen.line(f"the answer ended after {pieces} pieces: {error.reason}: {one_line(error.text)}")
        else:
            raise ArwError("INTERNAL", "The answer did not break off.", "Read the logs.")

    def _kill(self) -> None:
        for pid in left(self._second.state_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _switched(self, client: Client, after: int) -> None:
        try:
            async with asyncio.timeout(SWITCH_S):
                await self._tell_until_switched(client, after)
        except TimeoutError:
            text = f"The fallback was not engaged within {SWITCH_S:g} s."
            raise TimedOutError(text, "Read the control plane's log.") from None

    async def _tell_until_switched(self, client: Client, after: int) -> None:
        following = Following(client, self._screen, ("runtime.claim", "runtime.fallback", "runtime.health"))
        async with aclosing(following.events(after, 0)) as events:
            async for event in events:
                print_event(self._screen, event)
                if event.kind == LAST:
                    return

    async def _ask(self, claim: m.Claim, client: Client) -> None:
        prompt = Prompt(STORY, [question("hello")])
        answer = await self._chat(claim, client).reply(prompt, waiting(self._call))
        self._screen.line(answer["choices"][0]["message"]["content"])

    def _chat(self, claim: m.Claim, client: Client) -> Chat:
        under = replace(client.context, token=carrying(client.context.token, claim))
        return Chat(under, client.trace)
