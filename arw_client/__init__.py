"""The public Python client of ARW.

    from arw_client import Context, connect

    async with connect(Context.load(path)) as client:
        async for runtime in client.runtimes.each():
            print(runtime.id, runtime.instance and runtime.instance.state_label)

It speaks the contract through betterproto2 and grpclib, apart from the servers' own stack. Every failure is an
`ArwError` with a reason, a text and a remedy.
"""

from arw_client.chat import Chat, Delta, Prompt
from arw_client.client import Client, connect
from arw_client.context import Context
from arw_client.errors import ArwError, ContextError, TimedOutError, UnreachableError
from arw_client.names import display_id, resource_name

__all__ = [
    "ArwError",
    "Chat",
    "Client",
    "Context",
    "ContextError",
    "Delta",
    "Prompt",
    "TimedOutError",
    "UnreachableError",
    "connect",
    "display_id",
    "resource_name",
]
