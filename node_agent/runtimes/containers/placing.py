"""One launch in a container: what it is given, how it is asked, and the command line that runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from node_agent.domain.errors import AcceleratorMissing
from node_agent.domain.inventory import CPU, Accelerator, Engine
from node_agent.domain.limits import Limits
from node_agent.domain.spec import InstanceSpec, ModelFile
from node_agent.runtimes.containers.accelerators import Passed, passed
from node_agent.runtimes.containers.arguments import NOBODY, Mount, Wish, client_environment, run_arguments
from node_agent.runtimes.containers.image import Image, ImageCheck
from node_agent.runtimes.containers.layers import demand, layers
from node_agent.runtimes.containers.service import Containers
from node_agent.runtimes.containers.tool import ContainerTool
from node_agent.runtimes.directory import InstanceDirectory
from node_agent.runtimes.kinds.adapter import Command, Traits
from node_agent.runtimes.records import CheckRecord, ContainerRecord, SandboxRecord
from node_agent.runtimes.sandbox import paths


@dataclass(frozen=True, slots=True)
class Place:
    """Where the engine will run."""

    tool: ContainerTool
    image: Image
    engine: Engine
    """As its adapter asks it."""
    passed: Passed


@dataclass(frozen=True, slots=True)
class Contained:
    """What the shim starts, and what must be known of its container."""

    argv: tuple[str, ...]
    env: dict[str, str]
    container: ContainerRecord
    sandbox: SandboxRecord


async def place(containers: Containers, engine: Engine, spec: InstanceSpec, devices: Sequence[Accelerator]) -> Place:
    """`devices`: those that it may use. ExecutionModeUnavailable, EngineNotFound, AcceleratorMissing."""
    tool = await containers.tool()
    image = await containers.image(engine)
    given = passed(tool, spec.accelerator, devices)
    wanted = spec.accelerator
    if wanted not in ("", CPU, *given.kinds) and not spec.degrade_on_missing_accelerator:
        raise AcceleratorMissing(
            f"No device of kind {wanted} can be given to a container here: "
            f"{'; '.join(given.missing) or 'the node has none, or its tool cannot pass it'}.",
            "Make it possible on the node, let the runtime run natively, or set on_missing_accelerator to degrade.",
            accelerator=wanted,
        )
    return Place(tool, image, await containers.asked(engine, given.flags), given)


@dataclass(frozen=True, slots=True)
class Load:
    """What is put into the container, beside the engine's own command."""

    spec: InstanceSpec
    """As it is `within`."""
    traits: Traits
    home: InstanceDirectory
    limits: Limits
    image_name: str


def contained(where: Place, load: Load, command: Command, name: str) -> Contained:
    """`name` of the container. SpecInvalid, LocalPolicyDenied."""
    tool, limits = where.tool, load.limits
    given = layers(tool, limits)
    demand(limits.sandbox.required, given)
    memory = limits.memory_per_runtime_bytes or 0 if tool.limits_memory else 0
    wish = Wish(
        name,
        load.spec.name,
        str(load.home.path),
        where.image.id,
        tuple(_mounts(load)),
        where.passed.flags,
        memory,
        limits.sandbox.process_limit,
        load.traits.in_parts,
    )
    return Contained(
        run_arguments(tool, wish, command),
        client_environment(tool, command),
        ContainerRecord(tool.path, tool.kind, name, load.image_name, _uid(tool), memory, _check(where.image.check)),
        SandboxRecord(given=given),
    )


def within(spec: InstanceSpec) -> InstanceSpec:
    """With the paths that its files have in the container: none that leads through folders which are not there.

    The file's own name stays, also of a link: some formats find their other parts by it.
    """
    projector = _within(spec.projector) if spec.projector is not None else None
    return replace(spec, model=_within(spec.model), projector=projector)


def _within(file: ModelFile) -> ModelFile:
    if not file.path:
        return file
    path = Path(file.path)
    return replace(file, path=str(path.parent.resolve() / path.name))


def _uid(tool: ContainerTool) -> int:
    """Without root, nobody within is the agent's user without."""
    return 0 if tool.rootless else NOBODY


def _mounts(load: Load) -> Iterator[Mount]:
    files = [file.path for file in (load.spec.model, load.spec.projector) if file is not None and file.path]
    for file in files:
        for path in paths.model_paths(file, whole_folder=load.traits.model_folder):
            yield Mount(path)
    yield Mount(str(load.home.key_file))
    yield from (Mount(path) for path in load.limits.sandbox.use)
    yield Mount(str(load.home.scratch), writable=True)
    yield from (Mount(path, writable=True) for path in load.limits.sandbox.write)


def _check(check: ImageCheck | None) -> CheckRecord | None:
    if check is None:
        return None
    return CheckRecord(check.command, check.interval.total_seconds(), check.timeout.total_seconds(), check.retries)
