"""
Coverage-guided fuzzing: ``python -m tests.fuzz TARGET CORPUS_DIR [libFuzzer options]``.

Needs the `atheris` package of the development lock. ``-max_total_time=SECONDS`` bounds a run; an input that breaks a
target is written to ``crash-*`` (see ``-artifact_prefix``) and named, and given as the only file it is tried again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["plimsoll"]):
    from tests.fuzz.targets import TARGETS


def main(arguments: list[str]) -> None:
    if len(arguments) < 2 or arguments[0] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} CORPUS_DIR [options of libFuzzer]")
    target = TARGETS[arguments[0]]
    corpus = Path(arguments[1])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup(["fuzz", str(corpus), *arguments[2:]], target.check)
    atheris.Fuzz()


main(sys.argv[1:])
