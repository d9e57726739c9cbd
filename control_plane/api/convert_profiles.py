"""Profiles, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from arw.v1 import runtime_service_pb2 as pb
from control_plane.domain.errors import ManifestInvalid
from control_plane.domain.intents import Choice, Layer, said
from control_plane.domain.problem import Problem
from control_plane.domain.profile import Profile
from control_plane.messages.problems import problem_to_proto


def profiles_to_proto(profiles: Mapping[str, Profile | ManifestInvalid]) -> pb.ListRuntimeProfilesResponse:
    return pb.ListRuntimeProfilesResponse(profiles=[_profile(name, profiles[name]) for name in sorted(profiles)])


def choice_to_proto(choice: Choice) -> pb.IntentChoice:
    over = [_word(layer, layer.said[choice.key]) for layer in choice.over]
    return pb.IntentChoice(key=choice.key, word=_word(choice.by, choice.value), over=over)


def _profile(name: str, profile: Profile | ManifestInvalid) -> pb.RuntimeProfile:
    if isinstance(profile, ManifestInvalid):
        source = profile.metadata.get("source", "")
        return pb.RuntimeProfile(name=name, source=source, problem=problem_to_proto(Problem.of(profile)))
    intents = [pb.ProfileIntent(key=key, value=_json(value)) for key, value in sorted(said(profile.intents).items())]
    return pb.RuntimeProfile(name=name, description=profile.description, source=profile.source, intents=intents)


def _word(layer: Layer, value: Any) -> pb.IntentWord:
    source = pb.IntentSource.Value(f"INTENT_SOURCE_{layer.source.name}")
    return pb.IntentWord(source=source, source_name=layer.name, value=_json(value), reason=layer.why)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
