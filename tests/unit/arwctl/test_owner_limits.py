from __future__ import annotations

from arw_client import messages as m
from arwctl.owner_limits import facts


def test_what_the_owner_limits_is_told_line_by_line() -> None:
    limits = m.LocalLimits(
        file="/etc/n.toml", denied_adapters=["vllm"], modes=["native"], max_runtimes=0, memory_bytes=3 << 30
    )
    assert list(facts(limits)) == [
        ("Owner's limits", "in /etc/n.toml on that machine"),
        ("", "not the adapters vllm"),
        ("", "modes: native"),
        ("", "at most 0 runtimes at once"),
        ("", "at most 3.0 GiB for all runtimes"),
    ]


def test_no_limit_and_no_word_of_limits_are_told_apart() -> None:
    assert list(facts(m.LocalLimits(modes=["native", "container"]))) == [("Owner's limits", "none")]
    assert (
        list(facts(None)) == list(facts(m.LocalLimits())) == [("Owner's limits", "not known: its agent does not say")]
    )
