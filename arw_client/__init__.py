"""The public Python client of ARW.

    from arw_client import Context, connect

    async with connect(Context.load(path)) as client:
        async for runtime in client.runtimes.each():
            print(runtime.id, runtime.instance and runtime.instance.state_label)

It speaks the contract through betterproto2 and grpclib, apart from the servers' own stack. Every failure is an
`ArwError` with a reason, a text and a remedy. Each name loads its module when it is first asked for: the contract's
messages cost a fifth of a second, which who only wants an error or a context need not pay.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arw_client.chat import Chat, Delta, Prompt
    from arw_client.client import Client, connect
    from arw_client.context import Context
    from arw_client.errors import ArwError, ContextError, TimedOutError, UnreachableError
    from arw_client.holding import Holding
    from arw_client.images import Image, question
    from arw_client.names import display_id, resource_name
    from arw_client.transcription import Recording, Transcriptions

_MODULES = {
    "ArwError": "errors",
    "Chat": "chat",
    "Client": "client",
    "Context": "context",
    "ContextError": "errors",
    "Delta": "chat",
    "Holding": "holding",
    "Image": "images",
    "Prompt": "chat",
    "Recording": "transcription",
    "TimedOutError": "errors",
    "Transcriptions": "transcription",
    "UnreachableError": "errors",
    "connect": "client",
    "display_id": "names",
    "question": "images",
    "resource_name": "names",
}

__all__ = [
    "ArwError",
    "Chat",
    "Client",
    "Context",
    "ContextError",
    "Delta",
    "Holding",
    "Image",
    "Prompt",
    "Recording",
    "TimedOutError",
    "Transcriptions",
    "UnreachableError",
    "connect",
    "display_id",
    "question",
    "resource_name",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
