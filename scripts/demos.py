"""What the scripts know of the demos: asked of Cargo, which knows it from the manifests."""

import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def metadata():
    command = ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)


def names():
    """The demos, in the order of the lecture."""
    return [package["name"] for package in metadata()["packages"]]


def that_can_be_built():
    """All; but without MPI its demos cannot be built."""
    check = subprocess.run([ROOT / "scripts/setup.sh", "--check", "mpi"], capture_output=True)
    return [name for name in names() if check.returncode == 0 or not name.startswith("mpi-")]


def build(chosen, profile="debug"):
    """Builds these demos; the path of each one's executable."""
    command = ["cargo", "build", "--quiet", "--message-format=json-render-diagnostics"]
    command += ["--release"] if profile == "release" else []
    for name in chosen:
        command += ["-p", name]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return {message["target"]["name"]: message["executable"]
            for message in messages if message.get("executable")}
