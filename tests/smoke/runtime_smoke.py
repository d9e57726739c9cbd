"""`make runtime-smoke`: a reply through control plane, agent and engine, by the way that MODE names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from arwctl import tiny_model, tiny_projector
from arwctl.local.samples import sunset
from tests.smoke import machine_facts, stub_engine
from tests.smoke.choice import Choice, Way, choose
from tests.smoke.settings import Settings, read
from tests.smoke.stack import SmokeError, Stack, check_matrix
from tests.smoke.workspace import workspace

PASSED, FAILED, USAGE = 0, 1, 2


def main() -> int:
    try:
        settings = read(os.environ)
    except ValueError as error:
        return verdict("failed", str(error), USAGE)
    choice = choose(settings, machine_facts.gather(settings))
    for note in choice.notes:
        print(f"runtime-smoke: {note}")
    if choice.wants_weights:
        print(machine_facts.CHECKLIST)
    if choice.way is None:
        return verdict("skipped", choice.notes[-1], PASSED) if choice.skipped else verdict("failed", "", FAILED)
    with workspace(settings) as folder:
        return attempt(settings, choice, choice.way, folder)


def attempt(settings: Settings, choice: Choice, way: Way, folder: Path) -> int:
    print(f"runtime-smoke: {way}, in {folder}")
    try:
        run(settings, way, folder)
    except SmokeError as error:
        return verdict("failed", f"{error}; logs in {folder}", FAILED)
    return verdict("passed", f"{way}{', downgraded' if choice.notes else ''}", PASSED)


def run(settings: Settings, way: Way, folder: Path) -> None:
    """Whatever happens, nothing is left running."""
    stack = Stack(folder, settings.timeout_s, settings.server)
    prepare_engine(stack, settings, way)
    stack.simulate_gpu(way is Way.SIMULATED_GPU)
    model = settings.model if way in {Way.REAL, Way.GPU, Way.VISION} else None
    try:
        stack.up()
        stack.apply(model or tiny_model.write(folder / "tiny.gguf"), accelerator(way), projector(settings, way, folder))
        if settings.vision:
            see(stack, folder)
        else:
            print(f"runtime-smoke: reply: {stack.chat()!r}")
        check_matrix(stack.status())
        check_gpu(stack, way)
        check_devices(stack, way)
    finally:
        stack.down()


def prepare_engine(stack: Stack, settings: Settings, way: Way) -> None:
    """Without a binary of its own a real run takes the wheel."""
    if way in {Way.STUB, Way.SIMULATED_GPU}:
        claim = ["--simulated-gpu"] if way is Way.SIMULATED_GPU else []
        stack.engine([sys.executable, "-I", stub_engine.__file__, *claim], "")
    elif settings.engine:
        stack.engine([str(settings.engine)], settings.engine_arguments)


def projector(settings: Settings, way: Way, folder: Path) -> Path | None:
    if way is Way.TINY_VISION:
        return tiny_projector.write(folder / "tiny-projector.gguf")
    return settings.projector if way is Way.VISION else None


def see(stack: Stack, folder: Path) -> None:
    """Describe a picture, restore the engine by force, describe it again."""
    picture = folder / "sunset.png"
    sunset(picture)
    describe(stack, picture)
    print("runtime-smoke: restoring it by force")
    stack.restore()
    describe(stack, picture)


def describe(stack: Stack, picture: Path) -> None:
    print(f"runtime-smoke: described: {stack.chat('Describe this picture.', '--image', str(picture))!r}")
    check_matrix(stack.status())


def accelerator(way: Way) -> str:
    return "gpu_cuda" if way in {Way.GPU, Way.SIMULATED_GPU} else "cpu"


def check_gpu(stack: Stack, way: Way) -> None:
    """The engine itself must name its GPU; a simulated one is labelled so wherever it shows."""
    if way not in {Way.GPU, Way.SIMULATED_GPU}:
        return
    label = stack.accelerator_label()
    print(f"runtime-smoke: accelerator in use: {label}")
    if not stack.engine_log_names_a_gpu():
        raise SmokeError("the engine's log names no GPU: it runs on the CPU")
    if (stub_engine.DEVICE in label) is not (way is Way.SIMULATED_GPU):
        raise SmokeError(f"the label {label!r} does not tell a simulated GPU from a real one")


def check_devices(stack: Stack, way: Way) -> None:
    """A simulated GPU is on the node's list, and marked, when it was asked for, and never else."""
    if bool(stack.simulated_devices()) is not (way is Way.SIMULATED_GPU):
        raise SmokeError("the node's devices do not tell a simulated GPU from a real one")


def verdict(word: str, why: str, code: int) -> int:
    print(f"runtime-smoke: {word}{why and ' - ' + why}")
    return code


if __name__ == "__main__":
    sys.exit(main())
