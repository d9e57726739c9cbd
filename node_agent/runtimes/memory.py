"""What an owner remembers of its instance, in memory and on disk."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from node_agent.domain.budget import Budget
from node_agent.domain.errors import StorageUnavailable
from node_agent.domain.spec import InstanceName, RestartPolicy
from node_agent.domain.status import Problem
from node_agent.runtimes.directory import ForeignFileError, InstanceDirectory
from node_agent.runtimes.records import StateRecord

log = structlog.get_logger()


@dataclass(slots=True)
class Memory:
    """state.json and its last content. A full disk costs what was to be remembered, never a running engine."""

    name: InstanceName
    home: InstanceDirectory
    record: StateRecord = field(default_factory=StateRecord)
    _as_yet: dict[str, object] = field(default_factory=dict)
    """What is written in place of an attempt's changes until it came to a launch or to nothing: an agent that dies
    before that has attempted nothing."""

    def recall(self) -> None:
        self.record = self.home.state()

    @property
    def budget(self) -> Budget:
        return Budget(tuple(datetime.fromtimestamp(time, UTC) for time in self.record.restarts))

    @property
    def ready_time(self) -> datetime | None:
        return datetime.fromtimestamp(self.record.ready_time, UTC) if self.record.ready_time else None

    def label(self, *, beside: bool) -> InstanceName:
        """What tells the launches in the two berths apart."""
        return InstanceName(f"{self.name}/beside") if beside else self.name

    @property
    def settled(self) -> bool:
        return self.record.settled >= self.record.incarnation

    @property
    def told_to_end(self) -> bool:
        """The last launch was, by this agent or an earlier one."""
        return 0 < self.record.incarnation == self.record.told_to_end

    def reserve(self) -> int:
        """The number of the next launch, used up whatever comes of it. StorageUnavailable: then nothing may start."""
        number = self._next
        self._durably(replace(self.record, incarnation=number, ready_time=None, problem=None), {})
        return number

    def reserve_beside(self) -> int:
        """The number of a launch beside the last one. StorageUnavailable: then it may not start."""
        number = self._next
        self._durably(replace(self.record, reserved=number), self._as_yet)
        return number

    def succeeded(self, incarnation: int, launch_key: str, now: datetime) -> None:
        """The launch in the other berth is the last one from now on. StorageUnavailable: then it is not."""
        changed = replace(
            self.record,
            incarnation=incarnation,
            beside=not self.record.beside,
            launch_key=launch_key,
            ready_time=now.timestamp(),
            problem=None,
            refused="",
            refusal=None,
        )
        self._durably(changed, {})

    @property
    def _next(self) -> int:
        return max(self.record.incarnation, self.record.reserved) + 1

    def _durably(self, record: StateRecord, as_yet: dict[str, object]) -> None:
        before = self.record, self._as_yet
        self.record, self._as_yet = record, as_yet
        try:
            self._write()
        except (OSError, ForeignFileError) as error:
            self.record, self._as_yet = before
            raise StorageUnavailable(
                f"The agent cannot write to {self.home.path}: {error}.",
                "Free some disk space, or make the directory writable by the user that runs the agent.",
            ) from error

    def attempted(self, launch_key: str) -> None:
        self._attempt("launch_key", launch_key)

    def refuses(self, attempt: str, problem: Problem | None) -> None:
        """Not to be tried again; an empty one takes that back."""
        self._keep(refused=attempt, refusal=problem)

    def tells_to_end(self) -> None:
        self._keep(told_to_end=self.record.incarnation)

    def ready(self, now: datetime) -> None:
        """Since when; an engine that was taken over keeps its first time."""
        if self.record.ready_time is None:
            self._keep(ready_time=now.timestamp())

    def waits(self, failures: int) -> None:
        """Not settled: an agent that starts in the meantime must not take the restart for a free first start."""
        self._keep(failures=failures)

    def stopped(self) -> None:
        self._settle(None)

    def failed(self, problem: Problem) -> None:
        self._settle(problem)

    def spend(self, policy: RestartPolicy, now: datetime) -> None:
        times = self.budget.spend(policy, now).restarts
        self._attempt("restarts", tuple(time.timestamp() for time in times))

    def reset_budget(self) -> None:
        self._as_yet.pop("restarts", None)
        self._keep(restarts=(), failures=0)

    def acknowledge(self, serial: int) -> None:
        self._keep(restore_serial=serial)

    def _attempt(self, name: str, value: object) -> None:
        self._as_yet.setdefault(name, getattr(self.record, name))
        self.record = replace(self.record, **{name: value})  # type: ignore[arg-type]

    def _settle(self, problem: Problem | None) -> None:
        attempted, self._as_yet = bool(self._as_yet), {}
        self._keep(rewrite=attempted, settled=self.record.incarnation, problem=problem)

    def _keep(self, *, rewrite: bool = False, **changes: object) -> None:
        record = replace(self.record, **changes)  # type: ignore[arg-type]
        if record == self.record and not rewrite:
            return
        self.record = record
        try:
            self._write()
        except (OSError, ForeignFileError) as error:
            log.warning("state_not_saved", instance=self.name, error=str(error))

    def _write(self) -> None:
        self.home.prepare()
        self.record = replace(self.record, name=self.name)
        self.home.save(replace(self.record, **self._as_yet))  # type: ignore[arg-type]
