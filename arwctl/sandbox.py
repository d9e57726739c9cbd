"""What holds engines, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from arw_client import messages as m


def facts(layers: Sequence[m.SandboxLayer]) -> Iterator[tuple[str, str]]:
    """Name and value of each line; a line without a name goes on with the one above."""
    if not layers:
        yield "Sandbox", "not known: its agent does not say"
        return
    yield "Sandbox", ", ".join(layer.name for layer in layers if layer.in_force) or "no layer is in force"
    for layer in layers:
        if not layer.in_force:
            yield "", f"without {layer.name}: {layer.reason}"
