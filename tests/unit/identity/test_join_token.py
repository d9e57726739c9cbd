from __future__ import annotations

import pytest

from node_agent.domain.errors import JoinFailed
from node_agent.identity.join_token import JoinToken

PIN = "a2" * 26
GOOD = f"abc123.s3cr3ts3cr3t.{PIN}"


def test_a_token_has_an_id_a_secret_and_a_pin() -> None:
    token = JoinToken.parse(GOOD)
    assert (token.id, token.secret, token.pin) == ("abc123", "s3cr3ts3cr3t", PIN)
    assert token.bearer == "abc123.s3cr3ts3cr3t"


@pytest.mark.parametrize("text", [f"  {GOOD}\n", GOOD.replace(".", " .\n "), GOOD.upper()])
def test_white_space_and_case_do_not_matter(text: str) -> None:
    assert JoinToken.parse(text).bearer == "abc123.s3cr3ts3cr3t"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("abc123.s3cr3ts3cr3t", "2 parts"),
        (f"{GOOD}.more", "4 parts"),
        (f".s3cr3ts3cr3t.{PIN}", "first part"),
        (f"abc123..{PIN}", "second part"),
        ("abc123.s3cr3ts3cr3t.tooshort", "third part"),
        (f"abc123.s3cr3ts3cr3t.{'!' * 52}", "third part"),
    ],
)
def test_a_malformed_token_says_what_is_wrong_and_keeps_its_secret(text: str, said: str) -> None:
    with pytest.raises(JoinFailed) as refused:
        JoinToken.parse(text)
    assert said in refused.value.text
    assert "s3cr3t" not in str(refused.value)
    assert refused.value.remedy


def test_a_token_does_not_print_its_secret() -> None:
    assert "s3cr3t" not in repr(JoinToken.parse(GOOD))
