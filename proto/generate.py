"""Generate gen/ (protobuf + grpcio) and arw_client/_generated/ (betterproto2) from proto/.

`--check` fails, naming the files, when what is committed is not what proto/ says.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
TARGETS = ("gen/arw", "arw_client/_generated")
NOTICE = "Generated from proto/ by `make proto`; never edited.\n"


def generate(out: Path) -> None:
    gen = out / "gen"
    client = out / "arw_client" / "_generated"
    gen.mkdir(parents=True)
    client.mkdir(parents=True)
    protos = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    services = [name for name in protos if name.endswith("_service.proto")]
    protoc(f"--python_out={gen}", f"--mypy_out={gen}", protos=protos, scratch=out)
    protoc(f"--grpc_python_out={gen}", f"--mypy_grpc_out={gen}", protos=services, scratch=out)
    protoc(
        f"--python_betterproto2_out={client}",
        "--python_betterproto2_opt=client_generation=async",
        "--python_betterproto2_opt=server_generation=none",
        protos=protos,
        scratch=out,
    )
    for package in (gen / "arw", gen / "arw" / "v1"):
        (package / "__init__.py").write_text(f'"""{NOTICE}"""\n')
    (gen / "arw" / "py.typed").touch()


def protoc(*options: str, protos: list[str], scratch: Path) -> None:
    include = files("grpc_tools") / "_proto"
    bin_dir = Path(sys.executable).parent
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{PROTO}",
        f"-I{include}",
        f"--plugin=protoc-gen-mypy={bin_dir / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={bin_dir / 'protoc-gen-mypy_grpc'}",
        f"--plugin=protoc-gen-python_betterproto2={bin_dir / 'protoc-gen-python_betterproto2'}",
        *options,
        *protos,
    ]
    # The betterproto2 plugin calls ruff by name, and ruff would take our settings from the working directory.
    path = os.pathsep.join([str(bin_dir), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=scratch)
    if done.returncode:
        raise SystemExit(done.stderr)


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def stale(fresh: Path) -> list[str]:
    names: list[str] = []
    for target in TARGETS:
        old, new = tree(ROOT / target), tree(fresh / target)
        names += [f"{target}/{name}" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        generate(fresh)
        names = stale(fresh)
        if options.check:
            for name in names:
                print(f"not what proto/ says: {name}")
            if names:
                print("run `make proto` and commit the result")
            return 1 if names else 0
        for target in TARGETS:
            shutil.rmtree(ROOT / target, ignore_errors=True)
            shutil.copytree(fresh / target, ROOT / target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
