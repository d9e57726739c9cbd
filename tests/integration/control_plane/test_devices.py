from __future__ import annotations

import asyncio

from arw.v1 import accelerator_pb2, node_pb2, problem_pb2, session_pb2
from arw.v1.node_service_pb2 import GetNodeRequest, GetNodeResponse
from arw.v1.state_service_pb2 import WatchEventsRequest
from tests.fakes.device_usage import USAGE
from tests.fakes.patience import SLACK
from tests.fakes.running_plane import RunningPlane

LOST = problem_pb2.Problem(reason=problem_pb2.REASON_ACCELERATOR_LOST, text="It is lost.", remedy="Restart it.")
INVENTORY = node_pb2.NodeInventory(
    os="linux",
    accelerators=[
        accelerator_pb2.Accelerator(
            id="GPU-1",
            kind=accelerator_pb2.ACCELERATOR_KIND_GPU_CUDA,
            health=accelerator_pb2.ACCELERATOR_HEALTH_UNUSABLE,
            problem=LOST,
        )
    ],
)


async def node(plane: RunningPlane) -> node_pb2.Node:
    answer: GetNodeResponse = await plane.nodes.GetNode(GetNodeRequest(name="nodes/n1"))
    return answer.node


async def test_usage_and_a_changed_machine_reach_the_operator(plane: RunningPlane) -> None:
    agent = await plane.agent("n1")
    await agent.ack(await agent.hear_batch())
    assert not (await node(plane)).HasField("usage")
    await agent.say(heartbeat=session_pb2.Heartbeat(usage=USAGE))
    await agent.say(inventory_report=session_pb2.InventoryReport(inventory=INVENTORY))
    told = plane.state.WatchEvents(WatchEventsRequest(prefixes=["cluster.node.advertise"], after_id=0))
    async with asyncio.timeout(10 * SLACK):
        at_hello, changed = [(await told.read()).event.payload["accelerators"][0] for _ in range(2)]
    told.cancel()

    assert at_hello["id"] == "cpu"
    assert (changed["health"], changed["problem"]["reason"]) == ("unusable", "ACCELERATOR_LOST")
    seen = await node(plane)
    assert [device.id for device in seen.usage.accelerators] == ["cpu", "GPU-1"]
    assert seen.usage.HasField("update_time")
    assert seen.inventory.accelerators[0].health_label == "Unusable"
    await agent.hang_up()
