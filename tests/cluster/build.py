"""Builds the programs of a real control plane from their Go modules, once, and keeps them.

Owns the component table and the key of what is kept. Starts nothing (see tests/process.py), and runs alone to fill the
cache ahead of the tests:

    python -m tests.cluster.build            all components
    python -m tests.cluster.build etcd       one of them

Programs lie in ``${PLIMSOLL_CACHE:-$HOME/.cache/plimsoll}/bin/<key>/<component>``. The key is a hash of go.mod, go.sum,
the Go version and platform and the recipe below: whatever may change a program's bytes changes its folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from tests.kept import cache, locked, say

MODULE = Path(__file__).resolve().parent / "components"

# Raise this when the commands in _compile() change what they produce.
RECIPE = "1"

PROGRESS_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Component:
    """One program: its main package and the module whose version it carries."""

    package: str
    module: str
    # Where below MODULE its go.mod is, for one whose requirements would move those of Kubernetes.
    folder: str = "."


KUBERNETES = "k8s.io/kubernetes"

COMPONENTS = {
    "etcd": Component("go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
    "helm": Component("helm.sh/helm/v4/cmd/helm", "helm.sh/helm/v4", "helm"),
    "kube-apiserver": Component(f"{KUBERNETES}/cmd/kube-apiserver", KUBERNETES),
    "kube-controller-manager": Component(f"{KUBERNETES}/cmd/kube-controller-manager", KUBERNETES),
    "kube-scheduler": Component(f"{KUBERNETES}/cmd/kube-scheduler", KUBERNETES),
    "kube-score": Component("github.com/zegl/kube-score/cmd/kube-score", "github.com/zegl/kube-score", "kube-score"),
    "kubeconform": Component(
        "github.com/yannh/kubeconform/cmd/kubeconform", "github.com/yannh/kubeconform", "kubeconform"
    ),
    "kubelet": Component(f"{KUBERNETES}/cmd/kubelet", KUBERNETES),
}


class BuildError(RuntimeError):
    """A component cannot be built; the text says why and what to do about it."""


def build(component: str) -> Path:
    """Path of the program, built first if the cache has none. Safe against a second build at the same time.

    Raises BuildError: unknown component, Go missing or too old, or a failed compilation (with its last lines).
    """
    if component not in COMPONENTS:
        raise BuildError(f"unknown component {component!r}: there are {', '.join(sorted(COMPONENTS))}")
    home = _home(component)
    toolchain = _toolchain(home)
    folder = cache() / "bin" / _key(home, toolchain)
    program = folder / component
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    # One lock for the whole folder: two compilations of Kubernetes at a time gain nothing and need twice the memory.
    with locked(folder / ".lock"):
        if not program.exists():
            unfinished = folder / f".{component}.unfinished"
            _compile(component, toolchain, unfinished)
            unfinished.replace(program)  # a program is there whole or not at all
    return program


def build_each(*components: str) -> dict[str, Path]:
    """These components' programs. Raises BuildError."""
    return {component: build(component) for component in components}


def version(component: str) -> str:
    """Version of the component's module in go.mod, such as ``v1.37.2``. Needs no Go."""
    module, home = COMPONENTS[component].module, _home(component)
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module)} (v\S+)", _go_mod(home), re.MULTILINE)
    if not found:
        raise BuildError(f"{home / 'go.mod'} does not require {module}")
    return found[1]


def _home(component: str) -> Path:
    return MODULE / COMPONENTS[component].folder


def _go_mod(home: Path) -> str:
    return (home / "go.mod").read_text(encoding="utf-8")


def _key(home: Path, toolchain: dict[str, str]) -> str:
    digest = hashlib.sha256()
    for part in ((home / "go.mod").read_bytes(), (home / "go.sum").read_bytes()):
        digest.update(hashlib.sha256(part).digest())
    digest.update(json.dumps([RECIPE, toolchain], sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _toolchain(home: Path) -> dict[str, str]:
    """Version and platform of the Go that will build here, checked against the `go` line of go.mod."""
    found = re.search(r"^go (\S+)$", _go_mod(home), re.MULTILINE)
    if not found:
        raise BuildError(f"{home / 'go.mod'} has no go line")
    needed = found[1]
    cure = (
        f"Install Go {needed} or newer and put it first in PATH, or let a Go >= 1.21 fetch it: "
        f"go env -w GOTOOLCHAIN=go{needed}+auto"
    )
    if shutil.which("go") is None:
        raise BuildError(f"no Go in PATH, and building the control plane needs Go {needed}. {cure}")
    answer = subprocess.run(
        ["go", "env", "-json", "GOVERSION", "GOOS", "GOARCH"],
        cwd=home,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        # A Go >= 1.21 that is older than the go line says so itself, and refuses every command in this folder.
        raise BuildError(f"building the control plane needs Go {needed}: {answer.stderr.strip()}. {cure}")
    toolchain: dict[str, str] = json.loads(answer.stdout)
    running = toolchain["GOVERSION"]
    if _numbers(running) < _numbers(needed):
        raise BuildError(f"building the control plane needs Go {needed}, this is {running}. {cure}")
    return toolchain


def _numbers(go_version: str) -> tuple[int, int, int]:
    """(1, 26, 8) of ``go1.26.8``; a release candidate or a vendor's suffix counts as its release."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", go_version)
    if not found:
        raise BuildError(f"cannot tell which Go this is: {go_version!r}")
    return int(found[1]), int(found[2]), int(found[3] or 0)


def _environment() -> dict[str, str]:
    # No C compiler and no C library shall matter, nor a go.work in a folder above.
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}


def _ldflags(component: str) -> str:
    flags = ["-s", "-w"]
    if COMPONENTS[component].module == KUBERNETES:
        # Without these the server reports v0.0.0-master, and clients that compare versions take it for an old one.
        released = version(component)
        major, minor, _patch = released.removeprefix("v").split(".", 2)
        for name, value in (("gitVersion", released), ("gitMajor", major), ("gitMinor", minor)):
            flags.append(f"-X k8s.io/component-base/version.{name}={value}")
    return " ".join(flags)


def _compile(component: str, toolchain: dict[str, str], target: Path) -> None:
    # -mod=readonly: a go.mod that needs a change is an error to be seen, not to be repaired in a working copy.
    command = ["go", "build", "-v", "-mod=readonly", "-trimpath", "-ldflags", _ldflags(component)]
    command += ["-o", str(target), COMPONENTS[component].package]
    title = f"{component} {version(component)}"
    say(f"{title}: building with {toolchain['GOVERSION']}; the first time takes minutes, then it is cached")
    started = reported = time.monotonic()
    compiled = 0
    last: deque[str] = deque(maxlen=40)
    # go -v names each package it compiles on stderr, where its errors go too: both the progress and the reason.
    with subprocess.Popen(
        command, cwd=_home(component), env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr or ():
            last.append(line)
            compiled += 1
            now = time.monotonic()
            if now - reported >= PROGRESS_SECONDS:
                reported = now
                say(f"{title}: {compiled} packages in {now - started:.0f} s")
    if process.returncode != 0:
        raise BuildError(f"{title}: go build failed in {_home(component)}:\n{''.join(last)}")
    say(f"{title}: built in {time.monotonic() - started:.0f} s")


def main(components: list[str]) -> int:
    try:
        for component in components or COMPONENTS:
            print(build(component))
    except BuildError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
