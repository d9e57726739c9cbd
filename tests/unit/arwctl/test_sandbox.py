from __future__ import annotations

from arw_client import messages as m
from arwctl.sandbox import facts


def test_layers_in_force_stand_on_one_line_and_each_other_one_says_why() -> None:
    layers = [
        m.SandboxLayer(name="landlock-files", in_force=True),
        m.SandboxLayer(name="no-new-privileges", in_force=True),
        m.SandboxLayer(name="own-user", in_force=False, reason="the agent is not root"),
    ]
    assert list(facts(layers)) == [
        ("Sandbox", "landlock-files, no-new-privileges"),
        ("", "without own-user: the agent is not root"),
    ]


def test_an_agent_that_says_nothing_is_not_taken_for_one_without_a_sandbox() -> None:
    assert list(facts([])) == [("Sandbox", "not known: its agent does not say")]
