"""A container image with a real llama.cpp: this interpreter, its libraries, and the pinned wheel behind its front."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from node_agent.runtimes.engines import FRONT

STORE = Path(__file__).parents[2] / "build" / "containers"
"""Of these tests alone: nothing of the user's own images is touched, and one import serves every run."""
LEFT_OUT = shutil.ignore_patterns(
    *("site-packages", "test", "tests", "__pycache__", "idlelib", "tkinter", "ensurepip", "config-*", "lib2to3")
)
PODMAN, TAR, LDD = (shutil.which(name) or name for name in ("podman", "tar", "ldd"))
SETTINGS = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
{runtime}cgroup_manager = "cgroupfs"
events_logger = "file"
"""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{store}/images"
runroot = "{store}/run"
"""


@dataclass(frozen=True, slots=True)
class EngineImage:
    name: str
    entrypoint: tuple[str, ...]
    environment: Mapping[str, str]
    """For podman to find it."""

    def podman(self, *words: str) -> str:
        return podman(self.environment, *words)


def engine_image() -> EngineImage:
    """Made when it is not there yet. Skips where podman cannot run anything."""
    if not Path(PODMAN).is_absolute():
        pytest.skip("there is no podman: install podman and runc")
    environment = _settings()
    entrypoint = (_python(), "-I", f"/{FRONT.name}")
    image = EngineImage(f"localhost/arw-llama:{_content()}", entrypoint, environment)
    with _sole():
        try:
            image.podman("info")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"podman cannot run here: {error.stderr.strip()}")
        if not _exists(image):
            _import(image)
    return image


def podman(environment: Mapping[str, str], *words: str) -> str:
    done = subprocess.run([PODMAN, *words], env=environment, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip()


def variant(image: EngineImage, tag: str, *changes: str) -> EngineImage:
    """The same files with other settings, given as lines of a Containerfile."""
    name = f"{image.name}-{tag}"
    with _sole(), tempfile.TemporaryDirectory(dir=STORE) as folder:
        (Path(folder) / "Containerfile").write_text("\n".join((f"FROM {image.name}", *changes, "")))
        image.podman("build", "--quiet", "--pull-never", "--network", "none", "--format", "docker", "-t", name, folder)
    return EngineImage(name, image.entrypoint, image.environment)


def _settings() -> dict[str, str]:
    STORE.mkdir(parents=True, exist_ok=True)
    runtime = 'runtime = "runc"\n' if shutil.which("runc") else ""
    conf, storage = STORE / "containers.conf", STORE / "storage.conf"
    conf.write_text(SETTINGS.format(runtime=runtime))
    storage.write_text(STORAGE.format(store=STORE))
    return {**os.environ, "CONTAINERS_CONF": str(conf), "CONTAINERS_STORAGE_CONF": str(storage)}


@contextmanager
def _sole() -> Iterator[None]:
    with (STORE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _content() -> str:
    parts = (version("xllamacpp"), sys.version, FRONT.read_text(), Path(__file__).read_text())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _exists(image: EngineImage) -> bool:
    done = subprocess.run([PODMAN, "image", "exists", image.name], env=image.environment, timeout=60, check=False)
    return done.returncode == 0


def _import(image: EngineImage) -> None:
    with tempfile.TemporaryDirectory(dir=STORE) as folder:
        root = Path(folder)
        root.chmod(0o755)
        _fill(root)
        words = ", ".join(f'"{word}"' for word in image.entrypoint)
        with subprocess.Popen([TAR, "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(
                [PODMAN, "import", "--change", f"ENTRYPOINT [{words}]", "-", image.name],
                stdin=tar.stdout,
                env=image.environment,
                capture_output=True,
                timeout=300,
                check=True,
            )


def _fill(root: Path) -> None:
    """Everything keeps its path, so that the interpreter finds its own."""
    library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
    site = root / library.relative_to("/") / "site-packages"
    _put(root, Path(sys.executable).resolve(), Path(_python()))
    shutil.copytree(library, root / library.relative_to("/"), ignore=LEFT_OUT)
    wheels = Path(sysconfig.get_path("platlib"))
    for part in (wheels / "xllamacpp", *wheels.glob("xllamacpp-*.dist-info")):
        shutil.copytree(part, site / part.name)
    shutil.copy(FRONT, root / FRONT.name)
    for folder in ("tmp", "etc", "proc", "dev", "sys"):
        (root / folder).mkdir(exist_ok=True)
    binaries = [Path(sys.executable).resolve(), *library.glob("lib-dynload/*.so"), *wheels.glob("xllamacpp/*.so")]
    for needed in _needed(binaries):
        _put(root, needed, needed)


def _python() -> str:
    return f"{sys.base_prefix}/bin/{Path(sys.executable).resolve().name}"


def _put(root: Path, source: Path, place: Path) -> None:
    target = root / place.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(source.resolve(), target)


def _needed(binaries: list[Path]) -> set[Path]:
    """Shared libraries, as the loader finds them here."""
    found: set[Path] = set()
    for binary in binaries:
        said = subprocess.run([LDD, str(binary)], capture_output=True, text=True, timeout=20, check=False).stdout
        words = [line.split() for line in said.splitlines()]
        found |= {Path(word) for line in words for word in line if word.startswith("/") and not word.endswith(":")}
    return found
