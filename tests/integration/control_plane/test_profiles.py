"""Profiles over the wire, and the operator's own in a folder."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from arw.v1 import runtime_service_pb2 as pb
from control_plane.settings import PROFILES_VARIABLE
from tests.fakes.running_plane import running_plane
from wire.error_status import refusal_of

LLAMA = b'[[runtimes]]\nid = "chat"\nadapter = "llama.cpp"\nmodel = "m"\nprofile = "ours"\nsettings.slots = 2\n'


async def test_a_profile_from_its_file_to_an_explanation(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "ours.toml").write_text("version = 1\n[settings]\nslots = 8\nthreads_share = 50\n")
    monkeypatch.setenv(PROFILES_VARIABLE, str(own))
    async with running_plane(state) as plane:
        listed = await plane.runtimes.ListRuntimeProfiles(pb.ListRuntimeProfilesRequest())
        assert [each.source for each in listed.profiles if each.name == "ours"] == [str(own / "ours.toml")]
        assert {"performance", "silent", "gpu-cuda"} <= {each.name for each in listed.profiles}

        await plane.declare()
        request = pb.ApplyManifestRequest(
            content=b"version = 1\n" + LLAMA, format=pb.MANIFEST_FORMAT_TOML, source="m.toml"
        )
        await plane.runtimes.ApplyManifest(request)
        explained = await plane.runtimes.ExplainRuntime(pb.ExplainRuntimeRequest(name="runtimes/chat"))
        (choice,) = explained.intents
        assert (choice.key, choice.word.value, choice.word.source) == ("settings.slots", "2", pb.INTENT_SOURCE_MANIFEST)
        assert [(word.value, word.source_name) for word in choice.over] == [("8", "ours")]

        changed = await plane.runtimes.SetRuntimeProfile(
            pb.SetRuntimeProfileRequest(name="runtimes/chat", profile="silent")
        )
        assert (changed.runtime.spec.profile, changed.runtime.spec.settings.context_length) == ("silent", 2048)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await plane.runtimes.SetRuntimeProfile(
                pb.SetRuntimeProfileRequest(name="runtimes/chat", profile="fast", etag="old")
            )
        refusal = refusal_of(caught.value)
        assert refusal is not None
        assert refusal.remedy.startswith("Choose one of balanced")
