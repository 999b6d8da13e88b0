"""
Load over time, as shares of a machine: what high-priority pods want in each second. Seeded, so that a run repeats.

The shapes are those of services: a diurnal curve with noise, steps as of deployments, spikes as of retries, bursts
whose sizes have a heavy tail. Nothing here is recorded from a real machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from random import Random
from types import MappingProxyType

Trace = tuple[float, ...]
"""One value per second, each from 0 to 1."""

NOISE = 0.04
"""Standard deviation of one second's load about its level, as a share of the level."""


def trace(name: str, seconds: int, seed: int) -> Trace:
    """The trace of this name in :data:`SHAPES`. Raises KeyError."""
    random = Random(f"{name} {seed}")
    return tuple(_noisy(level, random) for level in islice(SHAPES[name](random), seconds))


def _noisy(level: float, random: Random) -> float:
    return min(1.0, max(0.0, level * (1 + random.gauss(0, NOISE))))


def _step(random: Random) -> Iterator[float]:
    """A new level every five to twenty minutes, at once."""
    while True:
        level = random.uniform(0.1, 0.6)
        for _ in range(random.randint(300, 1200)):
            yield level


def _ramp(random: Random) -> Iterator[float]:
    """Up in ten to thirty minutes, a while there, and down again."""
    while True:
        low, high = random.uniform(0.1, 0.2), random.uniform(0.45, 0.6)
        rise, stay = random.randint(600, 1800), random.randint(120, 600)
        yield from (low + (high - low) * each / rise for each in range(rise))
        yield from (high for _ in range(stay))
        yield from (high - (high - low) * each / rise for each in range(rise))
        yield from (low for _ in range(stay))


def _spike(random: Random) -> Iterator[float]:
    """Quiet, and every five to fifteen minutes half a minute or so of much more, reached within some seconds."""
    while True:
        low, high = random.uniform(0.1, 0.2), random.uniform(0.35, 0.6)
        rise = random.randint(3, 10)
        yield from (low for _ in range(random.randint(300, 900)))
        yield from (low + (high - low) * each / rise for each in range(rise))
        yield from (high for _ in range(random.randint(20, 60)))


def _sawtooth(random: Random) -> Iterator[float]:
    """Up in five to ten minutes, and down at once."""
    while True:
        low, high, rise = random.uniform(0.1, 0.2), random.uniform(0.4, 0.6), random.randint(300, 600)
        yield from (low + (high - low) * each / rise for each in range(rise))


def _diurnal(random: Random) -> Iterator[float]:
    """A day in two hours, its peak in the evening, with a slow drift."""
    period, drift, second = 7200, 0.0, 0
    while True:
        angle = 2 * math.pi * second / period
        drift = 0.999 * drift + random.gauss(0, 0.0008)
        yield 0.3 - 0.18 * math.cos(angle) + 0.05 * math.sin(2 * angle) + drift
        second += 1


def _bursty(random: Random) -> Iterator[float]:
    """Bursts arrive at random and last some seconds to minutes; their sizes have a heavy tail; they add up."""
    bursts: list[list[float]] = []
    while True:
        if random.random() < 1 / 90:
            size = min(0.35, 0.02 * random.paretovariate(1.3))
            bursts.append([random.expovariate(1 / 60) + 5, size, 0.0])
        for each in bursts:
            each[0] -= 1
            # A burst builds up over some seconds: connections are opened, queues fill.
            each[2] = min(each[1], each[2] + each[1] / 5)
        bursts = [each for each in bursts if each[0] > 0]
        yield 0.15 + sum(each[2] for each in bursts)


SHAPES: Mapping[str, Callable[[Random], Iterator[float]]] = MappingProxyType(
    {
        "step": _step,
        "ramp": _ramp,
        "spike": _spike,
        "sawtooth": _sawtooth,
        "diurnal": _diurnal,
        "bursty": _bursty,
    }
)
