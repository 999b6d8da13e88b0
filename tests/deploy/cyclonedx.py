"""
Whether a CycloneDX document is one, by the standard's own library and schema, strictly.

The library comes with checkov (checkers.py); it looks nothing up.
"""

from __future__ import annotations

import subprocess

from tests.deploy.checkers import SECONDS, checkov_python

_CHECK = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
sys.exit(0 if error is None else f"{error.data.json_path}: {error.data.message}")
"""


def complaint(document: str) -> str:
    """What is wrong with it, empty if nothing is."""
    done = subprocess.run(
        [str(checkov_python()), "-c", _CHECK],
        input=document,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr)
    return done.stderr.strip()
