"""What llama-server's slots hold: filled, written to files, read back."""

from __future__ import annotations

from typing import Any

import msgspec

from node_agent.domain.spec import InstanceSpec
from node_agent.runtimes.kinds.adapter import Line
from node_agent.runtimes.kinds.http_engine import OK, bearer
from node_agent.runtimes.probe import NoAnswer, post

QUESTION = "."
"""Templates want something of a user; what chats share ends before it."""


class _Done(msgspec.Struct):
    n_saved: int = 0
    n_restored: int = 0


class _Error(msgspec.Struct):
    message: str = ""


class _Refused(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


async def warm_up(spec: InstanceSpec, line: Line, prompt: str, slot: int | None) -> None:
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": QUESTION}]
    body: dict[str, Any] = {"model": spec.runtime_id, "messages": messages, "max_tokens": 1}
    if slot is not None:
        body["id_slot"] = slot
    await _posted(line, "/v1/chat/completions", body)


async def save(line: Line, slot: int, file: str) -> int:
    return (await _slot(line, slot, "save", file)).n_saved


async def restore(line: Line, slot: int, file: str) -> int:
    return (await _slot(line, slot, "restore", file)).n_restored


async def _slot(line: Line, slot: int, action: str, file: str) -> _Done:
    answer = await _posted(line, f"/slots/{slot}?action={action}", {"filename": file})
    try:
        return msgspec.json.decode(answer, type=_Done)
    except msgspec.DecodeError as error:
        raise NoAnswer(f"its answer was not understood: {error}") from error


async def _posted(line: Line, path: str, body: dict[str, Any]) -> bytes:
    """The answer's body; NoAnswer with the engine's own words."""
    answer = await post(line.port, path, msgspec.json.encode(body), line.patience, bearer(line.key))
    if answer.status != OK:
        raise NoAnswer(_words(answer.body) or f"status {answer.status}")
    return bytes(answer.body)


def _words(body: bytes | bytearray) -> str:
    try:
        return msgspec.json.decode(body, type=_Refused).error.message.rstrip(".")
    except msgspec.DecodeError:
        return ""
