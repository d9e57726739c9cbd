from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.domain.accelerator import AcceleratorKind
from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.manifest import ManifestForm
from control_plane.domain.profile import Profile
from control_plane.domain.runtime import EngineSettings, Intents, MissingAccelerator, Modality
from control_plane.manifests.profiles import ProfileFiles, read_profile, shipped
from control_plane.settings import Settings

WHOLE = """\
version = 1
description = "Ours"
modalities = ["text", "vision"]
accelerator = "cuda"
on_missing_accelerator = "fail"
tuning = true
[settings]
context_length = 8192
slots = 3
threads_share = 40
gpu_layers = 12
batch_size = 512
kv_cache_type = "q8_0"
warm_up = false
"""
NAMED = (
    *("performance", "balanced", "silent", "custom", "gpu-cuda", "gpu-rocm", "gpu-metal", "npu-directml"),
    *("npu-coreml", "turbo", "describe", "describe-lite", "transcription", "speech", "narration"),
)


def read(text: str) -> Profile:
    return read_profile("own", text.encode(), ManifestForm.TOML, "/etc/profiles/own.toml")


def test_the_shipped_profiles_are_those_that_people_name_and_each_says_what_it_is_for() -> None:
    assert shipped().keys() == set(NAMED)
    assert all(profile.description and not profile.source for profile in shipped().values())
    assert shipped()["custom"].intents == Intents()


def test_every_key_is_read() -> None:
    assert read(WHOLE) == Profile(
        "own",
        Intents(
            EngineSettings(
                context_length=8192, slots=3, gpu_layers=12, batch_size=512, kv_cache_type="q8_0", warm_up=False
            ),
            (Modality.TEXT, Modality.VISION),
            AcceleratorKind.GPU_CUDA,
            MissingAccelerator.FAIL,
            40,
            tuning=True,
        ),
        "Ours",
        "/etc/profiles/own.toml",
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("version = 1\n[settings]\nslot = 2\n", "line 3: settings.slot: is not known; did you mean 'slots'?"),
        ("version = 1\nflags = '--mlock'\n", "line 2: flags: is not known"),
        ("version = 2\n", "line 1: version: must be 1, not 2"),
        ("description = 'x'\n", "lacks 'version'"),
        ("version = 1\naccelerator = 'tpu'\n", "line 2: accelerator: does not know 'tpu'"),
        ("version = 1\n[settings]\nthreads_share = 101\n", "line 3: settings.threads_share"),
        ("version = 1\n[settings]\nthreads = 4\nthreads_share = 50\n", "leave one of them out"),
        ("version = 1\n[settings]\nkv_cache_type = 'q9'\n", "line 3: settings.kv_cache_type"),
        ("version = 1\n[settings]\nembeddings = true\n", "settings.embeddings: is not known"),
        ("version = ", "it is no valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_key(text: str, fault: str) -> None:
    with pytest.raises(ManifestInvalid) as caught:
        read(text)
    assert "/etc/profiles/own.toml is refused" in caught.value.text
    assert fault in caught.value.text
    assert caught.value.remedy


def test_the_operators_own_profiles_are_added_and_win_over_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "silent.toml").write_text("version = 1\n[settings]\nslots = 9\n")
    (tmp_path / "ours.json").write_text('{"version": 1, "settings": {"slots": 5}}')
    (tmp_path / ".hidden.toml").write_text("?")
    found = ProfileFiles(tmp_path).read()
    assert found.keys() == {*NAMED, "ours"}
    assert found["balanced"] == shipped()["balanced"]
    for name, slots in (("silent", 9), ("ours", 5)):
        profile = found[name]
        assert isinstance(profile, Profile)
        assert profile.intents == Intents(EngineSettings(slots=slots))
        assert profile.source.startswith(str(tmp_path))


def test_a_profile_that_is_refused_or_that_others_can_write_leaves_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("version = 1\nslots = 2\n")
    (tmp_path / "Big Name.toml").write_text("version = 1\n")
    (tmp_path / "open.toml").write_text("version = 1\n")
    (tmp_path / "open.toml").chmod(0o666)
    found = ProfileFiles(tmp_path).read()
    refused = {name: each for name, each in found.items() if isinstance(each, ManifestInvalid)}
    assert refused.keys() == {"bad", "Big Name", "open"}
    assert "chmod o-w" in refused["open"].text
    assert isinstance(found["silent"], Profile)


def test_a_folder_that_is_missing_has_no_profiles(tmp_path: Path) -> None:
    assert ProfileFiles(tmp_path / "none").read() == shipped()
    assert ProfileFiles(tmp_path / "none").marks() == {}


def test_what_should_be_a_folder_and_is_none_is_told_with_each_profile(tmp_path: Path) -> None:
    (tmp_path / "profiles").write_text("")
    found = ProfileFiles(tmp_path / "profiles").read()
    assert all(isinstance(each, ManifestInvalid) and "cannot be read" in each.text for each in found.values())


def test_the_folder_is_the_one_that_the_environment_names_else_beside_the_manifests() -> None:
    beside = Settings(manifest_dir="/etc/arw/manifests")
    assert beside.profile_folder({}) == Path("/etc/arw/manifests/profiles")
    assert beside.profile_folder({"ARW_RUNTIME_PROFILES": "/srv/profiles"}) == Path("/srv/profiles")
    assert Settings().profile_folder({}) is None
