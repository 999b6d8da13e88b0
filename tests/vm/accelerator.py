"""Whether QEMU can use the processor itself (KVM) here, or must emulate one (TCG).

Owns that one answer. A /dev/kvm proves nothing: where this machine is itself a guest the device can be there and fail
at the first instruction it does not know, so a stock kernel is run on it once.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

KVM = "kvm"
TCG = "tcg,thread=multi"
# With a processor of its own a kernel without a root file system gives up after a second.
PROBE_SECONDS = 10.0


@cache
def accelerator(vmlinuz: Path) -> str:
    """The value for ``-accel``: :data:`KVM` where ``vmlinuz`` runs on it, else :data:`TCG`."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    # Without a root the kernel panics, with panic=-1 it resets at once, with -no-reboot QEMU then ends with 0. An
    # internal error of KVM leaves QEMU running with a stopped guest.
    command = ["qemu-system-x86_64", "-accel", KVM, "-cpu", "max", "-m", "256", "-nodefaults", "-display", "none"]
    command += ["-no-reboot", "-kernel", str(vmlinuz), "-append", "panic=-1"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return TCG
    return KVM if done.returncode == 0 else TCG
