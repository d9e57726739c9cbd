from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from arw_client import messages as m
from arwctl.measured import facts
from tests.fakes.operator_api import OperatorApi
from tests.unit.arwctl.conftest import Arwctl, runtime

TAKEN = m.Footprint(memory_bytes=512 << 20, launches=3)


def test_what_nobody_saw_is_left_out() -> None:
    assert list(facts(None)) == []
    assert list(facts(m.Instance())) == []
    assert list(facts(m.Instance(footprint=TAKEN))) == [("Measured", "512 MiB of memory, 3 launches")]
    once = m.Footprint(memory_bytes=512 << 20, launches=1)
    assert dict(facts(m.Instance(footprint=once)))["Measured"] == "512 MiB of memory, 1 launch"


def test_what_was_seen_stands_with_its_unit_and_what_it_means() -> None:
    footprint = m.Footprint(
        memory_bytes=512 << 20,
        device_memory_bytes=256 << 20,
        load_time=timedelta(seconds=2.34),
        launches=3,
        generated_tokens_per_second=9.24,
        prompt_tokens_per_second=120.55,
    )
    assert list(facts(m.Instance(footprint=footprint, prompt_cache_warm=True))) == [
        ("Measured", "512 MiB of memory, 256 MiB of its devices, loaded in 2.3 s, 3 launches"),
        ("Speed", "9.2 tokens/s, 120.5 prompt tokens/s; for one request that has it to itself"),
        ("Prompt cache", "warm"),
    ]
    assert dict(facts(m.Instance(prompt_cache_warm=False))) == {"Prompt cache": "empty"}


async def test_a_runtime_shows_what_it_was_seen_to_give(run: Arwctl, state: Path, api: OperatorApi) -> None:
    found = runtime()
    found.instance.footprint.generated_tokens_per_second = 9.25
    found.instance.prompt_cache_warm = False
    api.runtimes = [found]
    context = ("--context", state / "context.json")
    said = await run("runtime", "get", found.id, *context)
    assert "Speed:              9.2 tokens/s; for one request that has it to itself" in said.out.splitlines()
    told = json.loads((await run("runtime", "get", found.id, "-o", "json", *context)).out)["instance"]
    assert told["prompt_cache_warm"] is False
    assert told["footprint"]["generated_tokens_per_second"] == 9.25
    assert "prompt_tokens_per_second" not in told["footprint"]
