"""The status of one instance, as people and the control plane see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from node_agent.domain.budget import Budget
from node_agent.domain.device_trouble import Trouble
from node_agent.domain.footprint import Footprint, is_news
from node_agent.domain.spec import DesiredState, InstanceName, InstanceSpec
from node_agent.domain.status import ExitRecord, Health, InstanceState, InstanceStatus, Problem, ProcessIdentity
from node_agent.runtimes.events import Launched, Ready
from node_agent.runtimes.kinds.adapter import Gauges, InUse
from node_agent.runtimes.launcher import Running
from node_agent.runtimes.records import LaunchRecord
from node_agent.runtimes.rest import AT_REST, rest
from node_agent.runtimes.slots import Filled
from node_agent.runtimes.survivors import unkillable

FALLBACK = "Degraded - CPU fallback"
REFUSED = "Serves with its earlier settings"
NOT_SAID = Filled()
MAX_ANSWERED = 16
"""Requests that a status names."""


class Report:
    """Holds the current status; whoever listens hears of each change, and of nothing else."""

    def __init__(self, name: InstanceName, listener: Callable[[InstanceStatus], None]) -> None:
        self.status = InstanceStatus(name, InstanceState.PENDING, "Not looked at yet")
        self.unsure = False
        """It served under an earlier agent, and has not answered this one yet."""
        self._listener = listener
        self._spec: InstanceSpec | None = None
        self._fallback: Problem | None = None
        self._slow: Problem | None = None
        self._trouble: Trouble | None = None
        self._notes: tuple[str, ...] = ()
        self._aside: tuple[str, ...] = ()
        """Of what starts or did not come up beside it, or why it had to be stopped first."""
        self._refusal: Problem | None = None

    def _set(self, **changes: object) -> None:
        status = replace(self.status, **changes)  # type: ignore[arg-type]
        if status != self.status:
            self.status = status
            self.unsure = self.unsure and status.state in (InstanceState.PENDING, InstanceState.STARTING)
            self._listener(status)

    def want(self, spec: InstanceSpec | None, budget: Budget, now: datetime, generation: int) -> None:
        """`generation`: what is acted on; an earlier one than the spec's while its settings are not in force."""
        self._spec = spec
        if spec is None:
            return
        changes: dict[str, object] = {"observed_generation": generation}
        view = budget.view(spec.restart, now)
        if self.status.budget is None or replace(self.status.budget, reset_in=view.reset_in) != view:
            changes["budget"] = view
        if spec.desired_state is DesiredState.STOPPED and self.status.state in AT_REST and self.status.problem is None:
            changes |= rest(spec)
        self._set(**changes)

    def starting(self, *, quiet: bool, restart: bool) -> None:
        """Quiet: it was blocked, and stays so to the eye until a process really starts."""
        if not quiet:
            state = InstanceState.RESTARTING if restart else InstanceState.STARTING
            self._set(state=state, summary="Checking engine and model", problem=None, health=None)

    def launched(self, running: Running, record: LaunchRecord) -> None:
        self._set(**self._launched(running, record))

    def _launched(self, running: Running, record: LaunchRecord) -> dict[str, object]:
        run = running.record
        shim_pid = run.shim_pid if running.shim is not None else 0
        self._fallback = _missing(record.missing_accelerator, record.missing_because)
        self._slow, self._trouble, self._notes = None, None, ()
        return {
            "state": InstanceState.STARTING,
            "summary": "Loading the model",
            "alarm": False,
            "detail": (),
            "incarnation": record.incarnation,
            "process": ProcessIdentity(run.boot_id, run.engine_pid, run.engine_start_ticks, shim_pid),
            "problem": None,
            "health": None,
            "ready_time": None,
            "accelerator": "",
            "accelerator_label": "",
            "engine": record.engine,
            "execution_mode": record.mode,
            "execution_reason": record.mode_reason,
            "footprint": None,
            "prompt_cache_warm": None,
            "idle_since": None,
            "sandbox": run.sandbox,
        }

    def warming_up(self, text: str) -> None:
        self._set(summary=text)

    def warmed(self) -> None:
        self._set(prompt_cache_warm=True)

    def ready(self, in_use: InUse, since: datetime | None, prompt_cache: Filled = NOT_SAID) -> None:
        self._set(**self._ready(in_use, since, prompt_cache))

    def succeeded(self, launched: Launched, ready: Ready, since: datetime | None, generation: int) -> None:
        """At one stroke: it never stopped serving."""
        self._aside, self._refusal = (), None
        changes = self._launched(launched.running, launched.record)
        changes |= self._ready(ready.in_use, since, ready.prompt_cache)
        self._set(**changes, observed_generation=generation)

    def aside(self, text: str) -> None:
        """Something beside the engine that serves, or about it, for people."""
        self._aside = (text,) if text else ()
        self._tell_again()

    def refused(self, problem: Problem | None) -> None:
        """Settings that did not come up beside it; None: nothing is held against them."""
        if problem != self._refusal:
            self._refusal = problem
            self._tell_again()

    def _tell_again(self) -> None:
        if self.status.state.serves and not self._misses:
            self._set(**self._serving())

    def _ready(self, in_use: InUse, since: datetime | None, prompt_cache: Filled) -> dict[str, object]:
        """What the engine really uses counts: a GPU that was asked for and is not used is a degradation."""
        wanted = self._spec.accelerator if self._spec is not None else ""
        if self._fallback is None and wanted.startswith("gpu") and in_use.accelerator == "cpu":
            self._fallback = _missing(wanted)
        if not wanted and in_use.accelerator != "cpu":
            self._fallback = None
        self._notes = (*_detail(in_use), *prompt_cache.notes)
        return {
            "ready_time": since,
            "prompt_cache_warm": prompt_cache.warm,
            "health": Health(slots=in_use.slots),
            "accelerator": in_use.accelerator,
            "accelerator_label": FALLBACK if self._fallback else in_use.accelerator_label,
            **self._serving(),
        }

    def learnt(self, footprint: Footprint) -> None:
        if self.status.footprint is None or is_news(self.status.footprint, footprint):
            self._set(footprint=footprint)

    def progresses(self, slow: Problem | None) -> None:
        """Told when it begins to emit nothing, and when it emits again."""
        if (slow is None) != (self._slow is None):
            self._slow = slow
            if not self._misses:
                self._set(**self._serving())

    def device_told(self, trouble: Trouble | None) -> None:
        """Of those that it runs on; None: well again."""
        self._trouble = trouble
        self._tell_again()

    def _serving(self) -> dict[str, object]:
        if self._slow is not None:
            return self._degraded(self._slow.text, self._slow)
        if self._trouble is not None:
            return self._degraded(self._trouble.label, self._trouble.problem)
        if self._fallback is not None:
            return self._degraded(FALLBACK, self._fallback)
        if self._refusal is not None:
            return self._degraded(REFUSED, self._refusal)
        detail = (*self._notes, *self._aside)
        return {"state": InstanceState.READY, "summary": "Ready", "detail": detail, "problem": None}

    def _degraded(self, summary: str, problem: Problem) -> dict[str, object]:
        """What is not said by the summary is the first of the details."""
        why = () if summary == problem.text else (problem.text,)
        return {
            "state": InstanceState.DEGRADED,
            "summary": summary,
            "detail": (*why, *self._notes, *self._aside),
            "problem": problem,
        }

    def probed(self, latency: timedelta | None, misses: int, gauges: Gauges) -> None:
        """Latency and counts are told only when the state changes anyway: a probe is no news."""
        if latency is None:
            text = f"{misses} of its probes in a row went unanswered."
            ours = self.status.process is not None
            next_step = "It is restarted if this goes on." if ours else "Look at it: it is not ours to restart."
            problem = Problem("PROBES_FAILED", text, next_step, {"misses": str(misses)})
            changes: dict[str, object] = {"state": InstanceState.DEGRADED, "summary": text, "problem": problem}
            self._set(health=Health(None, misses, slots=self._slots), **changes)
        elif self._misses:
            self._set(health=Health(latency, 0, _whole(gauges.requests_running), self._slots), **self._serving())
        elif self.status.health is not None:
            health = replace(self.status.health, inflight_requests=_whole(gauges.requests_running))
            self.status = replace(self.status, health=health)

    def answers(self, requests: Sequence[str], latency: timedelta | None) -> None:
        """Somebody asked for this probe: its latency is news. None: nothing was asked, or nothing answered."""
        health = self.status.health
        if latency is not None and health is not None:
            health = replace(health, probe_latency=latency)
        self._set(health=health, answered_probes=(*self.status.answered_probes, *requests)[-MAX_ANSWERED:])

    def in_use(self) -> None:
        self._set(idle_since=None)

    def idle(self, since: datetime) -> None:
        self._set(idle_since=since)

    @property
    def _misses(self) -> int:
        return self.status.health.consecutive_misses if self.status.health else 0

    @property
    def _slots(self) -> int | None:
        return self.status.health.slots if self.status.health else None

    def attached(self, host: str, port: int, in_use: InUse, since: datetime | None) -> None:
        self._set(engine=f"external, {host}:{port}")
        self.ready(in_use, since)

    def apart(self, problem: Problem) -> None:
        """What is attached does not answer. It is not ours to start, so this is no failure of ours."""
        self._set(state=InstanceState.STARTING, summary=problem.text, problem=problem, **self._NOTHING)

    def given_up(self, problem: Problem) -> None:
        self._set(state=InstanceState.RESTARTING, summary=problem.text, problem=problem)

    def ended(self, problem: Problem, last_exit: ExitRecord) -> None:
        self._set(
            state=InstanceState.RESTARTING, summary=problem.text, problem=problem, last_exit=last_exit, **self._NOTHING
        )

    def waiting(self, delay: timedelta) -> None:
        if delay:
            self._set(summary=f"Starts again in {delay.total_seconds():.1f} s")

    def failed(self, problem: Problem) -> None:
        self._set(state=InstanceState.ERROR, summary=problem.text, problem=problem, **self._NOTHING)

    def denied(self, problem: Problem) -> None:
        """Nothing failed: it waits for the owner of this node."""
        self._set(state=InstanceState.OFFLINE, summary=problem.text, problem=problem, **self._NOTHING)

    def stopping(self) -> None:
        self._set(state=InstanceState.STOPPING, summary="Stopping")

    def unkillable(self, *, alarm: bool) -> None:
        """Told to end, killed, and still there; `alarm` when it was for too long."""
        problem = unkillable()
        self._set(state=InstanceState.STOPPING, summary=problem.text, problem=problem, health=None, alarm=alarm)

    def stopped(self, last_exit: ExitRecord | None) -> None:
        kept = last_exit or self.status.last_exit
        self._set(**rest(self._spec), problem=None, last_exit=kept, **self._NOTHING)

    _NOTHING = {  # noqa: RUF012 - never changed
        "process": None,
        "health": None,
        "ready_time": None,
        "prompt_cache_warm": None,
        "alarm": False,
        "detail": (),
        "idle_since": None,
    }


def _whole(count: float | None) -> int | None:
    return None if count is None else int(count)


def _missing(accelerator: str, because: str = "") -> Problem | None:
    """`because`: what befell it."""
    if not accelerator:
        return None
    text = f"The engine finds no accelerator of kind {accelerator}, so it runs on the CPU."
    remedy = "Install a driver and an engine for it, or place the runtime on another node."
    if because:
        text = f"{because} It runs on the CPU in place of {accelerator}."
        remedy = "Put the device in order, then restart the runtime: it does not go back to it by itself."
    return Problem("ACCELERATOR_MISSING", text, remedy, {"accelerator": accelerator})


def _detail(in_use: InUse) -> tuple[str, ...]:
    if in_use.model:
        return (f"model {in_use.model}",)
    if in_use.slots is None or in_use.context_length is None:
        return ()
    return (f"{in_use.slots} slots of {in_use.context_length} tokens",)
