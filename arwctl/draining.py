"""A node on its way to being empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from arw_client import ArwError, Client, display_id
from arw_client import messages as m
from arwctl.output import when
from arwctl.screen import Screen

LOOK_EVERY_S = 0.5


def facts(node: m.Node) -> Iterator[tuple[str, str]]:
    if node.drain is None:
        return
    end = f"; what fits nowhere else stops at {when(node.drain.deadline)}" if node.drain.deadline else ""
    yield "Drained", f"since {when(node.drain.start_time)}{end}"
    for number, remainder in enumerate(node.remainders):
        yield "Not left yet" if number == 0 else "", line(remainder)


def line(remainder: m.Remainder) -> str:
    said = f"{display_id(remainder.runtime)}: {remainder.state_label}"
    if not remainder.placed:
        return f"{said}, ends here"
    return f"{said}. {remainder.problem.text} {remainder.problem.remedy}" if remainder.problem else said


async def until_empty(client: Client, screen: Screen, name: str, patience_s: float) -> None:
    """Say each change until nothing is left there. ArwError when that takes longer."""
    said: list[str] = []

    def tell(left: list[m.Remainder]) -> None:
        lines = [line(remainder) for remainder in left]
        for text in lines:
            if text not in said:
                screen.note(f"  {text}")
        said[:] = lines

    try:
        async with asyncio.timeout(patience_s):
            await _emptied(client, name, tell)
    except TimeoutError:
        left = ", ".join(text.partition(":")[0] for text in said)
        raise ArwError(
            "NOT_READY",
            f"{display_id(name)} is still drained after {patience_s:.0f} s; not left yet: {left}.",
            f"See why: `arwctl nodes show {display_id(name)}`.",
        ) from None


async def _emptied(client: Client, name: str, tell: Callable[[list[m.Remainder]], None]) -> None:
    while True:
        node = (await client.nodes.get_node(m.GetNodeRequest(name=name))).node or m.Node()
        if node.drain is None:
            raise ArwError("NOT_READY", f"{display_id(name)} is drained no longer: somebody resumed it.", "")
        if not node.remainders:
            return
        tell(node.remainders)
        await asyncio.sleep(LOOK_EVERY_S)
