"""Trust in an image, by the digest of what it holds."""

from __future__ import annotations

from dataclasses import replace

from node_agent.domain.errors import EngineNotFound
from node_agent.domain.inventory import Engine
from node_agent.runtimes.containers.image import inspect
from node_agent.runtimes.containers.service import Containers, not_here
from node_agent.runtimes.containers.tool import ToolError
from node_agent.runtimes.kinds.adapter import Adapter
from node_agent.runtimes.trust import TrustList


async def trust_image(trusted: TrustList, containers: Containers, adapter: Adapter, name: str, program: str) -> Engine:
    """Ask the engine in the image for its version and trust the image as it is now.

    `program`: what to run in it; empty: its own entry point. ExecutionModeUnavailable, EngineNotFound.
    """
    tool = await containers.tool()
    try:
        image = await inspect(tool, name)
    except ToolError as error:
        raise not_here(adapter.id, name, str(error)) from error
    command = (program,) if program else image.entrypoint
    if not command:
        raise EngineNotFound(
            f"The image {name} does not say what to run.",
            f"Name the engine's path in it: arw-node-agent trust {adapter.id} PATH --image {name}",
        )
    engine = Engine(adapter.id, command, ((name, image.id),), image=name)
    able = await adapter.probe(await containers.asked(engine, ()))
    engine = replace(engine, version=able.version)
    trusted.keep([engine])
    return engine
