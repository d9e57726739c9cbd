"""Which replica of the control plane to try next."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from node_agent.control_link.messages import Replica


class Servers:
    """Goes from one to another, each once before any again; among those that are left it is chance that decides."""

    def __init__(self, configured: str, chance: Callable[[], float]) -> None:
        """`chance` is uniform in [0, 1)."""
        self._configured = configured
        self._chance = chance
        self._told: tuple[str, ...] = ()
        self._tried: list[str] = []
        """Since one of them served us, in turn; the last one is the newest."""
        self._stays = False

    def know(self, replicas: Iterable[Replica]) -> None:
        """These live, as the control plane says. None named: what was known stays."""
        self._told = tuple(dict.fromkeys(r.grpc_address for r in replicas if r.grpc_address)) or self._told

    def settled(self) -> None:
        """The last one serves us."""
        del self._tried[:-1]

    def stay(self) -> None:
        """Nothing is wrong with the last one: it is the next one too."""
        self._stays = bool(self._tried)

    @property
    def others_left(self) -> bool:
        """Whether one is known that was not tried."""
        return any(server not in self._tried for server in self._known)

    def next(self) -> str:
        server = self._tried[-1] if self._stays else self._another()
        self._stays = False
        self._tried = [*(other for other in self._tried if other != server), server]
        return server

    @property
    def _known(self) -> tuple[str, ...]:
        """The configured address too: it may lead to a replica that nobody could name any more."""
        return self._told if self._configured in self._told else (*self._told, self._configured)

    def _another(self) -> str:
        if not self.others_left:
            del self._tried[:-1]
        left = [server for server in self._known if server not in self._tried] or self._known
        return left[int(self._chance() * len(left))]
