"""Where one instance stands: its phase, what is remembered and said of it, and the door to its engine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from node_agent.domain.observed import Observed, Phase, attempt_key, in_force, launch_key
from node_agent.domain.restart import backoff
from node_agent.domain.spec import InstanceName, InstanceSpec
from node_agent.domain.status import InstanceStatus, Problem
from node_agent.runtimes import checks, verdict
from node_agent.runtimes.adoption import Adoption
from node_agent.runtimes.attachment import Apart, Attached
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.equipment import Equipment
from node_agent.runtimes.events import (
    DeviceTold,
    End,
    Event,
    GivenUp,
    Launched,
    Learnt,
    Probed,
    Progressed,
    Ready,
    Unkillable,
    Warmed,
    WarmingUp,
)
from node_agent.runtimes.idleness import Idleness
from node_agent.runtimes.inquiries import Inquiries
from node_agent.runtimes.memory import Memory
from node_agent.runtimes.probe import HOST
from node_agent.runtimes.records import ExitNote, LaunchRecord
from node_agent.runtimes.report import Report
from node_agent.runtimes.successor import Successor
from node_agent.use_cases.ports import EngineDoor

log = structlog.get_logger()

NEVER = Problem("INTERNAL", "It did not run yet.")


class Standing:
    """Its owner says what happens; what is planned next stems from here. It starts and ends nothing."""

    def __init__(self, name: InstanceName, home: InstanceDirectory, equipment: Equipment, report: Report) -> None:
        self.report = report
        self.memory = Memory(name, home)
        self.spec: InstanceSpec | None = None
        self.phase = Phase.FOUND if home.path.exists() else Phase.DOWN
        self.busy = False
        """An order is being carried out."""
        self.good: InstanceSpec | None = None
        """What the last launch was made from; None: not known."""
        self.successor: Successor | None = None
        """What starts beside it."""
        self._name = name
        self.inquiries = Inquiries(report)
        self.idleness = Idleness(
            report, lambda: equipment.traffic(name) is not None, equipment.timers.quiet, equipment.now
        )
        self._home = home
        self._equipment = equipment
        self._retry_at: datetime | None = None
        self._hopeless = False
        self._last = NEVER
        self._denied: Problem | None = None
        self._door: EngineDoor | None = None

    def observed(self) -> Observed:
        record = self.memory.record
        phase = Phase.BUSY if self.busy else self.phase
        key, serial = record.launch_key, record.restore_serial
        denied = self._denied if phase is Phase.DENIED else None
        launched = record.incarnation > 0
        heir = self.successor
        return Observed(
            self._name,
            phase,
            key,
            serial,
            self.memory.budget,
            self._retry_at,
            self._hopeless,
            denied,
            launched,
            unsure=self.report.unsure,
            good=self.good,
            successor=heir.key if heir is not None else "",
            successor_ready=heir is not None and heir.ready is not None,
            refused=record.refused,
        )

    def recall(self) -> None:
        """What the directory remembers. An agent before this one may have been told something else since the launch."""
        self.memory.recall()
        key = self.memory.record.launch_key
        wanted = self.spec is not None and launch_key(self.spec) == key
        self.good = self.spec if wanted else self.berth.spec(key)

    @property
    def looked_at(self) -> bool:
        return self.phase is not Phase.FOUND

    def want(self, spec: InstanceSpec | None) -> None:
        """What the next steps stem from. Holds count from here on."""
        record = self.memory.record
        refused = spec is not None and self.good is not None and record.refused == attempt_key(spec)
        self.spec = in_force(spec, self.good, record.refused) if spec is not None else None
        self.report.want(self.spec, self.memory.budget, self._equipment.now(), self._generation(refused=refused))
        self.report.refused(record.refusal if refused else None)
        self.idleness.tell(self.spec is not None and self.spec.on_demand)

    def _generation(self, *, refused: bool) -> int:
        """Of what is acted on: changed settings are not yet, while the engine of earlier ones serves."""
        told = self.report.status
        if self.spec is None or not self.looked_at:
            return told.observed_generation
        if self.good is None:
            return self.spec.generation
        serves = told.state.serves or self.successor is not None
        if refused or (serves and self.memory.record.launch_key != launch_key(self.spec)):
            return max(told.observed_generation, self.good.generation)
        return self.spec.generation

    def status(self) -> InstanceStatus:
        """With the budget as of now: it comes back by itself."""
        spec = self.spec
        budget = self.memory.budget.view(spec.restart, self._equipment.now()) if spec is not None else None
        return replace(self.report.status, budget=budget)

    def door(self) -> EngineDoor | None:
        if self.spec is None or self._door is None or not self.report.status.state.serves:
            return None
        self.idleness.used()
        return replace(self._door, holds=self.spec.holds)

    @property
    def is_open(self) -> bool:
        """Requests may be on their way to it."""
        return self._door is not None

    def shut(self) -> None:
        self._door = None

    def try_again_after(self, reasons: Collection[str]) -> None:
        """What blocked it for one of these reasons may be out of the way: the next plan starts it."""
        problem = self.report.status.problem
        if self.phase is Phase.BLOCKED and problem is not None and problem.reason in reasons:
            self._retry_at = None

    def take_note(self, found: Adoption) -> None:
        """Nothing runs. An end that no agent dealt with yet is decided on like any other, but for our own doing."""
        settled = self.memory.settled or found.rebooted or found.never_ran
        if settled and self.memory.record.problem is not None and not found.rebooted:
            self.phase = Phase.FAILED
            self.report.failed(self.memory.record.problem)
        elif settled:
            self.memory.stopped()
            self.phase = Phase.DOWN
        else:
            problem = verdict.ended(found.note, was_ready=self.memory.ready_time is not None)
            self.ended(End(problem, found.note))

    def hear(self, event: Event) -> None:  # noqa: C901 - one line an event
        now = self._equipment.now()
        match event:
            case Launched(running, record):
                self._equipment.survivors.gone(self._name)
                self._door = self._door_of(record)
                self.report.launched(running, record)
            case WarmingUp(text):
                self.report.warming_up(text)
            case Ready(in_use, prompt_cache, look):
                self.inquiries.look = look
                self.memory.ready(now)
                self.report.ready(in_use, self.memory.ready_time, prompt_cache)
                self.idleness.used()
            case Warmed():
                self.report.warmed()
            case Probed(latency, misses, gauges):
                self.report.probed(latency, misses, gauges)
            case Learnt(footprint):
                self.report.learnt(footprint)
            case Progressed(slow):
                self.report.progresses(slow)
            case DeviceTold(trouble):
                self.report.device_told(trouble)
            case GivenUp(problem):
                self.report.given_up(problem)
            case Unkillable():
                self.unkillable()

    def _door_of(self, record: LaunchRecord) -> EngineDoor | None:
        """None: it does not speak what the gateway speaks."""
        if self.spec is None or not checks.speaks_openai(self.spec, self._equipment):
            return None
        return EngineDoor(HOST, record.port, self.berth.key(), frozenset())

    @property
    def berth(self) -> InstanceDirectory:
        """Of the last launch."""
        return self._home.berth(beside=self.memory.record.beside)

    @property
    def other_berth(self) -> InstanceDirectory:
        return self._home.berth(beside=not self.memory.record.beside)

    @property
    def label(self) -> InstanceName:
        """Of the last launch, where two are told apart."""
        return self.memory.label(beside=self.memory.record.beside)

    @property
    def other_label(self) -> InstanceName:
        return self.memory.label(beside=not self.memory.record.beside)

    def succeeded(self, heir: Successor, launched: Launched, ready: Ready) -> None:
        """It has the other's place: durably, then for whoever asks. StorageUnavailable: it has not."""
        self.memory.succeeded(launched.record.incarnation, heir.key, self._equipment.now())
        self.successor, self.good = None, heir.spec
        self.phase, self._retry_at, self._hopeless = Phase.UP, None, False
        self._door = self._door_of(launched.record)
        self.inquiries.look = ready.look
        generation = self.spec.generation if self.spec is not None else heir.spec.generation
        self.report.succeeded(launched, ready, self.memory.ready_time, generation)
        self.idleness.used()

    def refuse(self, spec: InstanceSpec, problem: Problem) -> None:
        """Its launch beside what serves came to nothing. It is not made again before somebody asks for it."""
        text = f"The settings of generation {spec.generation} did not come up: {problem.text}"
        again = f"They are tried again when the manifest changes, or after `arwctl runtime restore {spec.runtime_id}`."
        remedy = f"{problem.remedy} {again}".strip()
        told = replace(
            problem, text=text, remedy=remedy, metadata={**problem.metadata, "generation": str(spec.generation)}
        )
        self.successor = None
        self.memory.refuses(attempt_key(spec), told)
        self.report.aside("")
        self.report.refused(told)
        log.warning("successor_refused", instance=self._name, reason=problem.reason, text=problem.text)

    def hear_of_external(self, event: Attached | Apart | Probed) -> None:
        match event:
            case Attached(host, port, key, in_use, look):
                self.inquiries.look = look
                self._door = EngineDoor(host, port, key, frozenset(), in_use.model)
                self.memory.ready(self._equipment.now())
                self.report.attached(host, port, in_use, self.memory.ready_time)
            case Apart(problem):
                self._door = None
                self.report.apart(problem)
            case Probed(latency, misses, gauges):
                self.report.probed(latency, misses, gauges)

    def blocked(self, problem: Problem) -> None:
        """Nothing was started. What is in the way may go away, so it is looked at again from time to time."""
        now = self._equipment.now()
        self._door = None
        self.phase, self._retry_at = Phase.BLOCKED, now + self._equipment.timers.recheck
        self.memory.stopped()
        self.report.failed(problem)

    def deny(self, problem: Problem) -> None:
        self.phase, self._retry_at, self._denied = Phase.DENIED, None, problem
        self.memory.stopped()
        self.report.denied(problem)

    def unkillable(self) -> None:
        self._equipment.device_memory.survives(self.label)
        self.report.unkillable(alarm=self._equipment.survivors.seen(self._name))

    def ended(self, end: End) -> None:
        now = self._equipment.now()
        self._equipment.survivors.gone(self._name)
        self._door = None
        if self.memory.told_to_end:
            self.ended_as_told(end.note)
            return
        self.phase, self._hopeless = Phase.EXITED, end.hopeless
        self._last = end.problem
        self.report.ended(end.problem, verdict.exit_record(end.note, end.log_tail, now))
        log.warning("engine_ended", instance=self._name, reason=end.problem.reason, text=end.problem.text)

    def ended_as_told(self, note: ExitNote | None) -> None:
        self._equipment.survivors.gone(self._name)
        self.memory.stopped()
        self.phase, self._retry_at = Phase.DOWN, None
        self.report.stopped(verdict.exit_record(note, (), self._equipment.now()) if note else None)

    def await_retry(self) -> None:
        now = self._equipment.now()
        ready_time = self.memory.ready_time
        ready_for = now - ready_time if ready_time else timedelta()
        wait = backoff(self.memory.record.failures, ready_for, self._equipment.timers, self._equipment.chance())
        self.memory.waits(wait.failures)
        self.phase, self._retry_at = Phase.WAITING, now + wait.delay
        self.report.waiting(wait.delay)

    def fail(self, *, exhausted: bool) -> None:
        problem = self._last
        if exhausted and self.spec is not None:
            problem = verdict.exhausted(self.spec, self.memory.budget, self._last, self._equipment.now())
        self.phase = Phase.FAILED
        self.memory.failed(problem)
        self.report.failed(problem)
