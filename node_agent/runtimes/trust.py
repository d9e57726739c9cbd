"""The engines that this node's owner trusts, by the digests of their files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
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

_INSTALL = {
    "llama.cpp": "Install llama-server or the wheel (`pip install arw[llama]`), then",
    "whisper.cpp": "Install whisper-server or the wheel (`pip install arw[whisper]`), then",
}


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

    def read(self, candidate: Candidate, version: str = "") -> Engine:
        """The engine with its files as they are now; nothing is trusted yet. Blocks while they are read."""
        digests = tuple((str(path), self._digests.sha256(str(path))) for path in candidate.files)
        return Engine(candidate.adapter, candidate.command, digests, version)

    def add(self, candidate: Candidate, version: str) -> Engine:
        """Trust its files as they are now."""
        engine = self.read(candidate, version)
        self.keep([engine])
        return engine

    def keep(self, engines: Sequence[Engine]) -> None:
        """Trust these, the first one first, with the digests that they carry."""
        kept = {_place(engine) for engine in engines}
        others = [other for other in self.engines() if _place(other) not in kept]
        text = json.dumps(msgspec.to_builtins((*engines, *others)), indent=1)
        try:
            write_atomically(self._path, text.encode())
        except OSError as error:
            raise StorageUnavailable(f"{self._path} cannot be written: {error}.", "Free some disk space.") from error

    def engine_for(self, adapter: str, program: str = "") -> Engine:
        """The first trusted engine of this adapter that is still there; EngineNotFound or EngineNotTrusted.

        `program`: the only one that will do, when the spec itself names what to run.
        """
        trusted = [engine for engine in self.engines() if engine.adapter == adapter and not engine.image]
        if program:
            trusted = [engine for engine in trusted if engine.command[0] == program]
        for engine in trusted:
            if Path(engine.digests[0][0]).is_file():
                return engine
        if program:
            raise not_trusted(adapter, Path(program), "Nobody here said that it may run.")
        untrusted = [found for found in find_engines() if found.adapter == adapter]
        if untrusted:
            raise not_trusted(adapter, untrusted[0].files[0], "It was found on this node, but never trusted.")
        raise EngineNotFound(
            f"This node has no engine for {adapter}.",
            _INSTALL.get(adapter, "Install it, then") + f" `arw-node-agent trust {adapter} PATH`.",
            adapter=adapter,
        )

    @property
    def has_images(self) -> bool:
        return any(engine.image for engine in self.engines())

    def image_for(self, adapter: str, image: str = "") -> Engine:
        """The newest trusted image of this adapter, or the one of that name; EngineNotFound or EngineNotTrusted."""
        images = [engine for engine in self.engines() if engine.adapter == adapter and engine.image]
        for engine in images:
            if image in ("", engine.image):
                return engine
        if image:
            raise image_not_trusted(adapter, image)
        raise EngineNotFound(
            f"This node has no container image for {adapter}.",
            f"Pull or build one there, then: arw-node-agent trust {adapter} --image NAME",
            adapter=adapter,
        )

    def verify(self, engine: Engine) -> None:
        """EngineNotTrusted when a file is not what was trusted. Blocks while changed files are read.

        An image is run by its id, which is the digest of what it holds: what runs is what was trusted.
        """
        if engine.image:
            return
        main = Path(engine.digests[0][0])
        for path, expected in engine.digests:
            try:
                actual = self._digests.sha256(path)
            except OSError as error:
                raise not_trusted(engine.adapter, main, f"{path} cannot be read: {error.strerror}.") from error
            if actual != expected:
                raise not_trusted(engine.adapter, main, f"{path} has changed since it was trusted.")


def _place(engine: Engine) -> tuple[str, ...]:
    """Where it lies: what is trusted again there takes the place of what was."""
    return (engine.adapter, engine.image) if engine.image else engine.command


def not_trusted(adapter: str, main: Path, why: str) -> EngineNotTrusted:
    return EngineNotTrusted(
        f"The engine {main} is not trusted on this node. {why}",
        f"If you trust it, run: arw-node-agent trust {adapter} {main}",
        adapter=adapter,
        path=str(main),
    )


def image_not_trusted(adapter: str, image: str) -> EngineNotTrusted:
    return EngineNotTrusted(
        f"The image {image} is not trusted on this node.",
        f"If you trust it, run there: arw-node-agent trust {adapter} --image {image}",
        adapter=adapter,
        image=image,
    )


async def trust(trusted: TrustList, adapter: Adapter, candidate: Candidate) -> Engine:
    """Ask the engine for its version and trust its files. EngineNotFound when it cannot be run."""
    engine = await _tried(trusted, adapter, candidate)
    trusted.keep([engine])
    return engine


async def usable_engines(trusted: TrustList, adapter: Adapter, configured: tuple[Path, ...] = ()) -> list[Engine]:
    """What the owner named, then what was found; `TrustList.keep` trusts them.

    A found one that cannot run is left out, a named one raises.
    """
    engines = []
    candidates = [*map(adapter.candidate, configured), *adapter.found()]
    for candidate in {one.command: one for one in candidates}.values():
        try:
            engines.append(await _tried(trusted, adapter, candidate))
        except EngineNotFound as refusal:
            if candidate.files[0] in {path.absolute() for path in configured}:
                raise
            log.info("engine_left_out", path=str(candidate.files[0]), why=refusal.text)
    return engines


async def _tried(trusted: TrustList, adapter: Adapter, candidate: Candidate) -> Engine:
    """Its files are read before it is run: what is trusted is what answered."""
    engine = await asyncio.to_thread(trusted.read, candidate)
    able = await adapter.probe(engine)
    return replace(engine, version=able.version)
