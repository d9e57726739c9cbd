from __future__ import annotations

from wire.refusal import Refusal


def test_a_command_line_tells_what_happened_and_what_to_do_next() -> None:
    assert Refusal("It broke.", "Mend it.").spoken == "error: It broke.\nnext:  Mend it."
    assert Refusal("It broke.").spoken == "error: It broke."
