"""
How much the device may be written: a rate on the average, some minutes' worth at once.

Paid by what the device really was written, by anybody; what was asked for and is not written yet is set aside.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from plimsoll.model.memory import SwapDevice

BURST_SECONDS = 300.0
"""As long as TMO's drives are judged by: a first sweep of cold memory comes at once, and then hardly anything."""

# Reclaimed file pages are never written to the device, and the kernel is done with the others long before.
_FORGET_SECONDS = 60.0
_SMOOTH_SECONDS = 60.0
# A first sweep of cold memory is no measure of what follows; a day holds one of each.
_DAY = 86_400.0


class Writes(NamedTuple):
    """
    ``left``: bytes that may be written now, ``None`` before the first look. ``written``: the device's counter then.
    ``promised``: asked for and not seen there yet. ``rate``: bytes per second, smoothed. ``mean``: the same over the
    last day or, until ``watched`` seconds are one, over these.
    """

    left: float | None = None
    written: int | None = None
    promised: float = 0.0
    rate: float | None = None
    mean: float | None = None
    watched: float = 0.0

    def allow(self) -> int:
        """Bytes that may be asked for."""
        return max(0, int((self.left or 0.0) - self.promised))

    def ask(self, size: int) -> Writes:
        """With so many bytes asked for. What is not counted by the device is paid for right away."""
        if self.written is None:
            return self._replace(left=(self.left or 0.0) - size)
        return self._replace(promised=self.promised + size)


def unworn(device: SwapDevice) -> bool:
    """Whether writing wears nothing out: zram is memory."""
    return device.kind == "zram"


def account(before: Writes, device: SwapDevice, limit: float, seconds: float) -> Writes:
    """After ``seconds`` in which the device's counter came to what it is now. ``limit``: bytes per second."""
    most = limit * BURST_SECONDS
    left = most if before.left is None else min(most, before.left + limit * seconds)
    promised = before.promised * math.exp(-seconds / _FORGET_SECONDS)
    rate, mean, watched = before.rate, before.mean, before.watched
    if device.written is not None and before.written is not None and device.written >= before.written:
        written = device.written - before.written
        # A debt is limited too, or one bad day would stop all of the next.
        left = max(-most, left - written)
        promised = max(0.0, promised - written)
        if seconds > 0:
            rate = smooth(before.rate, written / seconds, seconds, _SMOOTH_SECONDS)
            watched = min(_DAY, watched + seconds)
            mean = (mean or 0.0) + (written / seconds - (mean or 0.0)) * min(1.0, seconds / watched)
    return Writes(left, device.written, promised, rate, mean, watched)


def life(writes: Writes, rated: float) -> float | None:
    """Seconds in which a drive that is rated for so many bytes has been written them, if it goes on like this."""
    return rated / writes.mean if writes.mean else None


def smooth(before: float | None, now: float, seconds: float, over: float) -> float:
    """An exponentially weighted mean that has forgotten two thirds of a value after ``over`` seconds."""
    if before is None:
        return now
    return before + (now - before) * (1 - math.exp(-seconds / over))
