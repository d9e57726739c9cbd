"""What a runtime was seen to take and to give."""

from __future__ import annotations

from collections.abc import Iterator

from arw_client import messages as m


def facts(instance: m.Instance | None) -> Iterator[tuple[str, str]]:
    """By name; what is not known is left out."""
    if instance is None:
        return
    if instance.footprint:
        launches = instance.footprint.launches
        yield "Measured", f"{_taken(instance.footprint)}, {launches} launch{'es'[: 2 * (launches != 1)]}"
        if speeds := ", ".join(_speeds(instance.footprint)):
            yield "Speed", f"{speeds}; for one request that has it to itself"
    if instance.prompt_cache_warm is not None:
        yield "Prompt cache", "warm" if instance.prompt_cache_warm else "empty"


def _taken(footprint: m.Footprint) -> str:
    sizes = [f"{footprint.memory_bytes / 2**20:.0f} MiB of memory"]
    if footprint.device_memory_bytes is not None:
        sizes.append(f"{footprint.device_memory_bytes / 2**20:.0f} MiB of its devices")
    if footprint.load_time:
        sizes.append(f"loaded in {footprint.load_time.total_seconds():.1f} s")
    return ", ".join(sizes)


def _speeds(footprint: m.Footprint) -> Iterator[str]:
    if footprint.generated_tokens_per_second is not None:
        yield f"{footprint.generated_tokens_per_second:.1f} tokens/s"
    if footprint.prompt_tokens_per_second is not None:
        yield f"{footprint.prompt_tokens_per_second:.1f} prompt tokens/s"
