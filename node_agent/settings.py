"""Where the agent keeps its things, and how long it waits."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PRODUCT = "arw"


def product_version() -> str:
    try:
        return version(PRODUCT)
    except PackageNotFoundError:
        return "unpackaged"


def default_state_root() -> Path:
    """$ARW_STATE_DIR, else the user's state directory."""
    named = os.environ.get("ARW_STATE_DIR")
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / PRODUCT


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """Everything the agent writes lies below `path`."""

    path: Path

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def run_record(self) -> Path:
        return self.path / "run.json"

    @property
    def starts(self) -> Path:
        """How often the agent died as it started."""
        return self.path / "starts.json"

    @property
    def link_record(self) -> Path:
        """What the link last showed, for `status`."""
        return self.path / "link.json"

    @property
    def accepted_history(self) -> Path:
        return self.path / "accepted_history"

    @property
    def limits(self) -> Path:
        """What this machine's owner lets run, unless another file is named."""
        return self.path.parent / "node_agent.toml"

    @property
    def ballast(self) -> Path:
        """Room kept back for the records on a full disk."""
        return self.path / "ballast.bin"

    @property
    def contact(self) -> Path:
        """When the control plane was last heard, while anybody minds."""
        return self.path / "contact.json"

    @property
    def database(self) -> Path:
        return self.path / "agent.db"


@dataclass(frozen=True, slots=True)
class Timers:
    removal_hold: timedelta = timedelta(seconds=60)
    reconnect_cap: timedelta = timedelta(seconds=10)
    refused_retry: timedelta = timedelta(hours=1)
    diagnose_every: timedelta = timedelta(seconds=60)
    welcome: timedelta = timedelta(seconds=10)
    between_reports: timedelta = timedelta(milliseconds=50)
    recheck_refused: timedelta = timedelta(seconds=30)
    storage_retry: timedelta = timedelta(seconds=10)
    goodbye: timedelta = timedelta(seconds=2)
    stop_agent: timedelta = timedelta(seconds=10)
    """After this `stop` kills an agent that does not end by itself."""
    test_profile: bool = False


SECOND_LONG = Timers(
    removal_hold=timedelta(seconds=2),
    reconnect_cap=timedelta(seconds=1),
    refused_retry=timedelta(seconds=5),
    diagnose_every=timedelta(seconds=1),
    welcome=timedelta(seconds=3),
    recheck_refused=timedelta(seconds=1),
    storage_retry=timedelta(seconds=1),
    goodbye=timedelta(seconds=1),
    stop_agent=timedelta(seconds=5),
    test_profile=True,
)


def timers_from_environment() -> Timers:
    """ARW_TIMERS=test asks for the second-long profile."""
    return SECOND_LONG if os.environ.get("ARW_TIMERS") == "test" else Timers()


@dataclass(frozen=True, slots=True)
class Settings:
    state: StateDirectory
    timers: Timers = field(default_factory=timers_from_environment)
    limits: Path | None = None
    """The owner's limits, when another file than the state directory's holds them."""
