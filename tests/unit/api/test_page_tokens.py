from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.api.page_tokens import PageTokens
from control_plane.domain.errors import PageTokenInvalid

TOKENS = PageTokens(b"k" * 32)


@given(st.text(min_size=1))
def test_a_token_opens_where_it_was_sealed(inner: str) -> None:
    inner = inner.encode("utf-8", "ignore").decode()
    assert TOKENS.open("ListNodes", "operators/a", TOKENS.seal("ListNodes", "operators/a", inner)) == inner


@pytest.mark.parametrize(
    ("method", "caller", "key"),
    [("ListModels", "operators/a", b"k"), ("ListNodes", "operators/b", b"k"), ("ListNodes", "operators/a", b"l")],
)
def test_a_token_opens_nowhere_else(method: str, caller: str, key: bytes) -> None:
    token = TOKENS.seal("ListNodes", "operators/a", "n7")
    with pytest.raises(PageTokenInvalid):
        PageTokens(key * 32).open(method, caller, token)


@given(st.text(min_size=1))
def test_an_invented_token_is_refused(token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        TOKENS.open("ListNodes", "operators/a", token)


def test_no_next_page_is_no_token() -> None:
    assert TOKENS.seal("ListNodes", "operators/a", "") == ""
    assert TOKENS.open("ListNodes", "operators/a", "") == ""
