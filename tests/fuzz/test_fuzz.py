"""Each target is fuzzed for a bounded time on every `make test`; `make fuzz` goes on for as long as it is let."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

SECONDS = 3


@pytest.mark.fuzz
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no build for this Python and machine"
)
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_no_input_breaks_the_parsers(tmp_path: Path, target: str) -> None:
    """Whatever libFuzzer finds in the time given, the target's invariants hold and nothing but its own error comes."""
    # The coverage of `make test` and the fuzzer's would slow each other down.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", target, str(tmp_path / "corpus"), f"-max_total_time={SECONDS}",
         "-max_len=4096", "-timeout=20", "-rss_limit_mb=2048", f"-artifact_prefix={tmp_path}/"],
        cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done " in done.stderr, done.stderr[-4000:]


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_seeds_hold(target: str) -> None:
    """The inputs a run starts from pass, also where there is no fuzzer."""
    for seed in TARGETS[target].seeds:
        TARGETS[target].check(seed)
