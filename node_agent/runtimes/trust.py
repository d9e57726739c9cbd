"""The engines that this node's owner trusts, by the digests of their files."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import structlog

from node_agent.domain.errors import EngineNotFound, EngineNotTrusted, StorageUnavailable
from node_agent.domain.inventory import Engine
from node_agent.runtimes.engines import Candidate, find_engines
from node_agent.runtimes.kinds.adapter import Adapter
from node_agent.use_cases.ports import Digests
from wire.atomic_file import write_atomically

log = structlog.get_logger()


class TrustList:
    """engines.json in the agent's state directory. The newest trust in an adapter comes first."""

    def __init__(self, path: Path, digests: Digests) -> None:
        self._path = path
        self._digests = digests
        self._seen: tuple[int, int] | None = None
        self._engines: tuple[Engine, ...] = ()

    def engines(self) -> tuple[Engine, ...]:
        """Read again when the file changed: another process may have added one. A broken list trusts nothing."""
        try:
            seen = self._path.stat()
        except FileNotFoundError:
            return ()
        if (seen.st_ino, seen.st_mtime_ns) != self._seen:
            self._engines = self._read()
            self._seen = (seen.st_ino, seen.st_mtime_ns)
        return self._engines

    def _read(self) -> tuple[Engine, ...]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=tuple[Engine, ...])
        except (OSError, msgspec.DecodeError) as error:
            log.warning("engine_list_unreadable", path=str(self._path), error=str(error))
            return ()

    def add(self, candidate: Candidate, version: str) -> Engine:
        """Trust its files as they are now. Blocks while they are read."""
        digests = tuple((str(path), self._digests.sha256(str(path))) for path in candidate.files)
        engine = Engine(candidate.adapter, candidate.command, digests, version)
        others = [other for other in self.engines() if other.command != engine.command]
        text = json.dumps(msgspec.to_builtins((engine, *others)), indent=1)
        try:
            write_atomically(self._path, text.encode())
        except OSError as error:
            raise StorageUnavailable(f"{self._path} cannot be written: {error}.", "Free some disk space.") from error
        return engine

    def engine_for(self, adapter: str) -> Engine:
        """The first trusted engine of this adapter that is still there; EngineNotFound or EngineNotTrusted."""
        trusted = [engine for engine in self.engines() if engine.adapter == adapter]
        for engine in trusted:
            if Path(engine.digests[0][0]).is_file():
                return engine
        untrusted = [found for found in find_engines() if found.adapter == adapter]
        if untrusted:
            raise not_trusted(adapter, untrusted[0].files[0], "It was found on this node, but never trusted.")
        raise EngineNotFound(
            f"This node has no engine for {adapter}.",
            "Install llama-server or the wheel (`pip install arw[llama]`), then `arw-node-agent trust llama.cpp PATH`.",
            adapter=adapter,
        )

    def verify(self, engine: Engine) -> None:
        """EngineNotTrusted when a file is not what was trusted. Blocks while changed files are read."""
        main = Path(engine.digests[0][0])
        for path, expected in engine.digests:
            try:
                actual = self._digests.sha256(path)
            except OSError as error:
                raise not_trusted(engine.adapter, main, f"{path} cannot be read: {error.strerror}.") from error
            if actual != expected:
                raise not_trusted(engine.adapter, main, f"{path} has changed since it was trusted.")


def not_trusted(adapter: str, main: Path, why: str) -> EngineNotTrusted:
    return EngineNotTrusted(
        f"The engine {main} is not trusted on this node. {why}",
        f"If you trust it, run: arw-node-agent trust {adapter} {main}",
        adapter=adapter,
        path=str(main),
    )


async def trust(trusted: TrustList, adapter: Adapter, candidate: Candidate) -> Engine:
    """Ask the engine for its version, then trust its files. EngineNotFound when it cannot be run."""
    able = await adapter.probe(Engine(candidate.adapter, candidate.command, ()))
    return trusted.add(candidate, able.version)


async def trust_found(trusted: TrustList, adapter: Adapter, configured: tuple[Path, ...] = ()) -> list[Engine]:
    """Trust what the owner named and what was found. A found one that cannot run is left out, a named one raises."""
    engines = []
    for candidate in reversed(find_engines(configured)):
        try:
            engines.append(await trust(trusted, adapter, candidate))
        except EngineNotFound as refusal:
            if candidate.files[0] in {path.absolute() for path in configured}:
                raise
            log.info("engine_left_out", path=str(candidate.files[0]), why=refusal.text)
    return engines[::-1]
