from __future__ import annotations

import pytest

from control_plane.domain.errors import InvalidId
from control_plane.domain.ids import checked, parsed


@pytest.mark.parametrize("name", ["runtimes/llama.cpp__tiny", "llama.cpp/tiny", "llama.cpp__tiny"])
def test_an_id_and_its_resource_name_mean_the_same(name: str) -> None:
    assert parsed(name, "runtimes", "runtime") == "llama.cpp/tiny"


@pytest.mark.parametrize("bad", ["runtimes/x", "nodes/x", "models/x", "instances/x"])
def test_an_id_that_reads_like_the_resource_name_of_another_is_refused(bad: str) -> None:
    with pytest.raises(InvalidId, match="no valid runtime id"):
        checked(bad, "runtime")
