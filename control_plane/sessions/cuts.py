from __future__ import annotations

import asyncio

from control_plane.sessions.connection import AgentConnection
from control_plane.sessions.leaving import draining


class Cuts:
    """Ends streams whose writers are stuck, each once."""

    def __init__(self) -> None:
        self.group: asyncio.TaskGroup | None = None
        """None before there is anything to end."""
        self._under_way: set[AgentConnection] = set()

    def cut_off(self, connection: AgentConnection) -> None:
        """The status follows as soon as the peer reads; the handler ends now."""
        if connection in self._under_way or self.group is None:
            return
        self._under_way.add(connection)
        self.group.create_task(connection.abort(connection.refusal or draining()))
        connection.cut()

    def gone(self, connection: AgentConnection) -> None:
        self._under_way.discard(connection)
