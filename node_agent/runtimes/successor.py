"""What starts beside the engine that serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node_agent.domain.observed import launch_key
from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.events import Event, Launched, Ready, Unkillable
from node_agent.runtimes.launcher import Running


class Successor:
    """Hears its own launch. Once it has the other's place, whoever owned that hears it."""

    def __init__(
        self, spec: InstanceSpec, home: InstanceDirectory, ready: Callable[[], None], survives: Callable[[], None]
    ) -> None:
        """`survives`: called again and again while it survives SIGKILL."""
        self.spec = spec
        self.home = home
        self.key = launch_key(spec)
        self.launched: Launched | None = None
        self.ready: Ready | None = None
        self.task: asyncio.Task[None] | None = None
        self._tell_ready = ready
        self._survives = survives
        self._later: list[Event] = []
        self._listener: Callable[[Event], None] | None = None

    @property
    def running(self) -> Running | None:
        return self.launched.running if self.launched is not None else None

    def hear(self, event: Event) -> None:
        if self._listener is not None:
            self._listener(event)
        elif isinstance(event, Launched):
            self.launched = event
        elif isinstance(event, Ready):
            self.ready = event
            self._tell_ready()
        elif isinstance(event, Unkillable):
            self._survives()
        elif self.ready is not None:
            self._later.append(event)

    def pass_on(self, listener: Callable[[Event], None]) -> None:
        """From now on, and what it heard since it was ready."""
        self._listener = listener
        later, self._later = self._later, []
        for event in later:
            listener(event)
