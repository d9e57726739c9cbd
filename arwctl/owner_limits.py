"""What the owner of a machine lets it run, in words."""

from __future__ import annotations

from collections.abc import Iterator

from arw_client import messages as m


def facts(limits: m.LocalLimits | None) -> Iterator[tuple[str, str]]:
    """Name and value of each line; a line without a name goes on with the one above."""
    if limits is None or (not limits.modes and not limits.file):
        yield "Owner's limits", "not known: its agent does not say"
        return
    if not limits.file:
        yield "Owner's limits", "none"
        return
    yield "Owner's limits", f"in {limits.file} on that machine"
    for text in _words(limits):
        yield "", text


def _words(limits: m.LocalLimits) -> Iterator[str]:
    if limits.denied_adapters:
        yield f"not the adapters {', '.join(limits.denied_adapters)}"
    yield f"modes: {', '.join(limits.modes) or 'none'}"
    if limits.max_runtimes is not None:
        yield f"at most {limits.max_runtimes} runtimes at once"
    for what, size in (("all runtimes", limits.memory_bytes), ("a runtime", limits.memory_per_runtime_bytes)):
        if size is not None:
            yield f"at most {size / 2**30:.1f} GiB for {what}"
