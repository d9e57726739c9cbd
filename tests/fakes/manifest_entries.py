"""Entries of manifests that are accepted, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from control_plane.manifests.profiles import shipped
from control_plane.manifests.read_settings import ACCELERATORS

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
WORD = st.text("abc-_.é \"'\\\n\x7f#[]=", min_size=1, max_size=8)
COUNT = st.integers(1, 2**31 - 1)
SETTINGS = {
    "context_length": COUNT,
    "slots": COUNT,
    "gpu_layers": st.integers(0, 99),
    "warm_up": st.booleans(),
    "kv_cache_type": st.sampled_from(["f16", "q8_0"]),
    "warm_up_prompts": st.lists(TEXT.filter(bool), min_size=1, max_size=3),
}
PROCESS = {
    "env": st.dictionaries(st.sampled_from(["A", "B_2"]), TEXT, max_size=2),
    "working_directory": st.sampled_from(["", "/opt"]),
    "port": st.integers(0, 65535),
    "openai": st.booleans(),
    "health": st.fixed_dictionaries(
        {}, optional={"path": st.just("/ok"), "expect_status": st.integers(100, 599), "expect_body": TEXT}
    ),
}
COMMON = {
    "name": TEXT,
    "profile": st.sampled_from(sorted(shipped())),
    "preset": TEXT,
    "modalities": st.lists(st.sampled_from(["text", "audio", "vision", "pointer"]), min_size=1, unique=True),
    "accelerator": st.sampled_from(sorted(ACCELERATORS)),
    "on_missing_accelerator": st.sampled_from(["degrade", "fail"]),
    "auto_start": st.booleans(),
    "replicas": st.integers(1, 3),
    "tags": st.dictionaries(WORD, TEXT, max_size=3),
    "node_selector": st.dictionaries(st.sampled_from(["site", "rack"]), st.sampled_from(["a", "b-1"]), max_size=2),
    "placement": st.fixed_dictionaries(
        {},
        optional={
            "strategy": st.sampled_from(["spread", "binpack"]),
            "on_disconnect": st.sampled_from(["keep", "move_after:90s", "move_after:2h"]),
        },
    ),
    "restart": st.fixed_dictionaries(
        {}, optional={"max_restarts": st.integers(0, 9), "window_seconds": st.integers(1, 999)}
    ),
}
MODES = {"modes": st.lists(st.sampled_from(["native", "container"]), unique=True)}
COMMAND = st.lists(TEXT, max_size=3).map(lambda more: ["/opt/serve", "{port}", *more])
ENTRIES = st.one_of(
    st.fixed_dictionaries(
        {
            "adapter": st.just("llama.cpp"),
            "model": st.sampled_from(["tiny", "tiny/q4"]),
            "settings": st.fixed_dictionaries({}, optional=SETTINGS),
        },
        optional=COMMON | MODES,
    ),
    st.fixed_dictionaries(
        {
            "adapter": st.just("process"),
            "process": st.fixed_dictionaries({"command": COMMAND}, optional=PROCESS),
        },
        optional=COMMON,
    ),
    st.fixed_dictionaries(
        {
            "adapter": st.just("external"),
            "external": st.fixed_dictionaries(
                {"url": st.just("http://127.0.0.1:1")}, optional={"health_path": st.just("/up"), "model": TEXT}
            ),
        },
        optional=COMMON,
    ),
)
