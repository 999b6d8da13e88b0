"""
What others' checkers say of rendered objects: checkov, kube-score and kubeconform, each at one version.

Owns how they are had and called, and the reading of what they print. Nothing is skipped: what is exempted is the
test's. checkov has a Python environment of its own: its dependencies are not those of anything here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.cluster.build import build
from tests.kept import digest, kept

LOCK = Path(__file__).with_name("checkov.lock")
SECONDS = 300.0
# Of kube-score's grades: below are warnings and what is critical.
_OK = 7


class CheckerError(RuntimeError):
    """A checker cannot be had, or did not give an answer; the text says why."""


class Finding(NamedTuple):
    """One check that does not pass; ``target`` is ``Kind/name``, or a file."""

    checker: str
    check: str
    target: str


def checkov(file: Path, framework: str) -> set[Finding]:
    """Of a file of ``framework``: ``kubernetes`` or ``dockerfile``. Raises CheckerError."""
    command = [str(checkov_python()), "-m", "checkov.main", "--file", str(file), "--framework", framework]
    answer = json.loads(_run([*command, "--output", "json", "--quiet", "--compact", "--skip-download"], failed=1))
    if not answer["summary"]["passed"] or answer["summary"]["parsing_errors"]:
        raise CheckerError(f"checkov has not looked at anything in {file}: {answer['summary']}")
    failed = answer["results"]["failed_checks"]
    return {Finding("checkov", each["check_id"], _target(each["resource"], file)) for each in failed}


def kube_score(file: Path) -> set[Finding]:
    """Of rendered objects. Raises CheckerError."""
    objects = json.loads(_run([str(build("kube-score")), "score", "--output-format", "json", str(file)], failed=1))
    return {
        Finding("kube-score", check["check"]["id"], f"{item['type_meta']['kind']}/{item['object_meta']['name']}")
        for item in objects
        for check in item["checks"]
        if not check["skipped"] and check["grade"] < _OK
    }


def kubeconform(file: Path, schemas: Path) -> tuple[int, list[str]]:
    """How many objects are valid by the schemas of this folder, and what is said of the others. Raises CheckerError."""
    command = [str(build("kubeconform")), "-strict", "-output", "json", "-summary", "-schema-location"]
    answer = json.loads(
        _run([*command, f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", str(file)], failed=1)
    )
    summary = answer["summary"]
    told = [f"{each['kind']}/{each['name']}: {each['status']}: {each['msg']}" for each in answer["resources"] or ()]
    if summary["errors"] or summary["skipped"]:
        raise CheckerError("\n".join(told))
    return summary["valid"], told


def checkov_python() -> Path:
    """The interpreter that has checkov, and all it needs. Raises CheckerError."""
    return kept("checkov", digest(LOCK.read_bytes(), sys.version.encode()), _install) / "bin/python"


def _install(folder: Path) -> None:
    _run([sys.executable, "-m", "venv", str(folder)], seconds=None)
    # --no-deps: the lock is complete, and hashes are required for everything in it.
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    _run([str(folder / "bin/python"), "-m", "pip", "install", *options, "--requirement", str(LOCK)], seconds=None)


def _run(command: list[str], *, failed: int = 0, seconds: float | None = SECONDS) -> str:
    """What a program prints; ``failed``: another exit code it has when it has found something."""
    # Nothing is looked up elsewhere: no platform of the maker's, no key of a developer's.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CKV", "BC_", "PRISMA"))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, env=environment)
    if done.returncode not in (0, failed):
        raise CheckerError(f"{command[:3]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _target(resource: str, file: Path) -> str:
    """checkov says ``Kind.namespace.name``, and of a pod it finds within another object its labels, too."""
    kind, *names = resource.split(".")
    if not names or kind.startswith("/"):
        return file.name
    return f"{kind}/{names[1]}" if len(names) > 1 else f"{kind}/{names[0]}"
