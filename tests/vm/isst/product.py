"""
Runs in the guest: the product's own bindings, writing registers of Speed Select.

    product.py '[[KNOB, ADDRESS, TEXT], ...]'

Writes one after another through kernel/isst/registers.py, and prints the outcome of each and what is read back then.
"""

from __future__ import annotations

import json
import sys

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.isst.registers import Registers
from plimsoll.model.plan import Knob


def main(writes: list[list[str]]) -> list[dict[str, str | None]]:
    """The outcome and the text afterwards, by write."""
    platform = Platform.detect(HostFs("/"))
    if not isinstance(platform, Platform):
        raise SystemExit(f"no Speed Select: {platform}")
    registers = Registers(platform)
    found = []
    for name, address, text in writes:
        outcome, _ = registers.write(Knob(name), address, text)
        shown = registers.read(Knob(name), address).text()
        found.append({"outcome": outcome.value, "text": None if shown is None else shown.strip()})
    return found


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
