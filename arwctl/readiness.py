"""Waiting until what was applied serves, and saying why when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from arw_client import ArwError, Client, TimedOutError, UnreachableError
from arw_client import messages as m
from arwctl.plain import one_line
from arwctl.screen import Screen

SERVES = {m.InstanceState.READY, m.InstanceState.DEGRADED}
RETRY_S = 0.5
OLD_NEWS_S = 5.0
"""So long what stood before an order may still stand after it."""


class Waiting:
    """Follows runtimes from state to state; each change is one line on standard error.

    `outdated`: the runtimes are as the answer to an order showed them; in these states they cannot stay.
    """

    def __init__(
        self,
        client: Client,
        screen: Screen,
        wanted: Iterable[m.Runtime],
        outdated: Collection[m.InstanceState] = (),
    ) -> None:
        wanted = list(wanted)
        self._client = client
        self._screen = screen
        self._generation = {runtime.name: runtime.generation for runtime in wanted}
        self._said: dict[str, str] = {}
        launches = {runtime.name: _launch(runtime) for runtime in wanted}
        self._old = {name: launch for name, launch in launches.items() if launch[0] in outdated}

    async def until_ready(self, timeout_s: float) -> None:
        """TimedOutError with the last reason after `timeout_s`; ArwError as soon as one runtime fails for good."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._generation:
                    await self._follow()
        except TimeoutError:
            raise self._late(timeout_s) from None

    async def _follow(self) -> None:
        """One watch; a control plane that restarts meanwhile only costs another one."""
        try:
            async with asyncio.timeout(OLD_NEWS_S if self._old else None):
                await self._watch()
        except TimeoutError:
            self._old = {}
        except UnreachableError as error:
            self._screen.note(f"{one_line(error.text)} Trying again.")
        if self._generation:
            await asyncio.sleep(RETRY_S)

    async def _watch(self) -> None:
        async for change in self._client.runtimes.watch_runtimes(m.WatchRuntimesRequest()):
            if change.runtime and change.runtime.name in self._generation:
                self._consider(change.runtime, deleted=change.deleted)
            if not self._generation:
                return

    def _consider(self, runtime: m.Runtime, *, deleted: bool) -> None:
        if deleted:
            raise ArwError("NOT_FOUND", f"{runtime.name} was deleted meanwhile.", "Apply its manifest again.")
        if self._old.get(runtime.name) == _launch(runtime):
            return
        self._old.pop(runtime.name, None)
        self._say(runtime)
        if (why := _not_woken(runtime)) is not None:
            raise why
        instance = runtime.instance
        wanted = self._generation[runtime.name]
        if instance is not None and _is_refused(instance, wanted):
            raise failure(runtime, instance)
        if instance is None or instance.observed_generation < wanted:
            return
        if instance.state == m.InstanceState.ERROR:
            raise failure(runtime, instance)
        if instance.state in SERVES:
            del self._generation[runtime.name]

    def _say(self, runtime: m.Runtime) -> None:
        text = standing(runtime)
        if self._said.get(runtime.name) != text:
            self._said[runtime.name] = text
            self._screen.note(f"{runtime.id}: {text}")

    def _late(self, timeout_s: float) -> TimedOutError:
        name = next(iter(self._generation))
        runtime = name.partition("/")[2].replace("__", "/")
        return TimedOutError(
            f"{runtime} did not become ready within {timeout_s:g} s; last: {self._said.get(name, 'nothing heard')}",
            f"It goes on trying: see `arwctl runtime explain {runtime}` and `arwctl runtime logs {runtime}`.",
        )


def _not_woken(runtime: m.Runtime) -> ArwError | None:
    """It was asked for, and nobody waits for it any more."""
    sleep = runtime.sleep
    if sleep is None or sleep.problem is None or sleep.wake_time is not None:
        return None
    reason = (sleep.problem.reason.name or "NOT_READY") if sleep.problem.reason else "NOT_READY"
    return ArwError(reason, f"{runtime.id} did not wake: {sleep.problem.text}", sleep.problem.remedy)


def _is_refused(instance: m.Instance, generation: int) -> bool:
    """It serves with its earlier settings, for these did not come up."""
    told = instance.problem.metadata.get("generation") if instance.problem is not None else None
    return instance.observed_generation < generation and told == str(generation)


def _launch(runtime: m.Runtime) -> tuple[m.InstanceState | None, int]:
    instance = runtime.instance
    return (instance.state, instance.incarnation) if instance else (None, 0)


def standing(runtime: m.Runtime) -> str:
    """Where a runtime stands, in one line."""
    if runtime.instance is not None:
        summary = runtime.instance.summary
        label = runtime.instance.state_label
        if runtime.sleep is not None and runtime.sleep.problem is not None:
            summary = runtime.sleep.problem.text
        return f"{label} - {summary}" if summary and summary != label else label
    if runtime.placement_problem is not None:
        return f"no place: {runtime.placement_problem.text}"
    return "waiting for a place"


def failure(runtime: m.Runtime, instance: m.Instance) -> ArwError:
    """Why an instance failed, with the end of its log."""
    problem = instance.problem or m.Problem(text=instance.summary)
    tail = instance.last_exit.log_tail if instance.last_exit else []
    reason = (problem.reason.name or "ENGINE_EXITED") if problem.reason else "ENGINE_EXITED"
    error = ArwError(
        reason,
        f"{runtime.id} failed: {problem.text or instance.state_label}",
        problem.remedy or f"Read its log: `arwctl runtime logs {runtime.id}`.",
    )
    for line in tail:
        error.add_note(line)
    return error
