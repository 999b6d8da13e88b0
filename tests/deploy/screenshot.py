"""
The picture of the status page in the README: an agent runs on a simulated node for a while, and Chromium looks at it.

    python -m tests.deploy.screenshot        (root, and Debian's packages chromium and prometheus)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.deploy.dashboards.pictures import live, watched
from tests.deploy.helm import CHART

PICTURE = CHART.parents[2] / "docs/status-page.png"
SECONDS = 60.0
SIZE = (1100, 840)
MAX_BYTES = 200_000


class ScreenshotError(RuntimeError):
    """There is no browser, or it took no picture."""


def screenshot(url: str, file: Path) -> None:
    """A picture of a page as it is after its first second. Raises ScreenshotError."""
    browser = shutil.which("chromium")
    if browser is None:
        raise ScreenshotError("no chromium in PATH: install Debian's package chromium")
    with tempfile.TemporaryDirectory(prefix="plimsoll-chromium-") as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-proxy-server"]
        command += [f"--user-data-dir={profile}", f"--window-size={SIZE[0]},{SIZE[1]}", "--virtual-time-budget=1000"]
        done = subprocess.run(
            [*command, f"--screenshot={file}", url], capture_output=True, text=True, timeout=100, check=False
        )
    if done.returncode != 0 or not file.exists():
        raise ScreenshotError(f"{browser} ended with {done.returncode}:\n{done.stderr}")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="plimsoll-screenshot-") as folder, watched(Path(folder)) as (fleet, _):
        live(fleet, lambda: False, SECONDS)
        screenshot(f"http://{fleet.addresses()[fleet.nodes[0].name]}/", PICTURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
