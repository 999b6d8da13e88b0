"""
What the pods of a simulated node want, second by second, and which pods there are: the same for the same seed.

A pure function of time: nothing is kept, so any moment can be asked for in any order. What they get is
``simulator/contention.py``'s business, and how it looks to the kernel's readers ``simulator/node.py``'s.
"""

from __future__ import annotations

import hashlib
import math
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from plimsoll.model.pod import QosClass
from plimsoll.simulator.contention import Demand

# How long a finished pod's object is still there before the next takes its place.
LINGER_SECONDS = 3.0
# Noise and bursts change once in so many seconds.
_SLOT_SECONDS = 4.0
_BURST_CHANCE = 0.35
_QUIET = 0.15
_NOISE = 0.08
_RAMP_SECONDS = 4.0
# Kubernetes' alphabet for generated names: no vowels, so no words.
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"


class Shape(StrEnum):
    """How the load of a pod runs over time."""

    STEADY = "steady"
    DIURNAL = "diurnal"  # a wave with the length of a day
    BURSTY = "bursty"  # mostly quiet, now and then everything at once
    BATCH = "batch"  # starts, works at full load, finishes; another one starts


@dataclass(frozen=True, slots=True)
class PodSpec:
    """
    One pod of the cast, or with a ``lifetime`` (seconds) a row of jobs one after the other.

    ``cpu`` (CPUs), ``memory`` (bytes) and ``io`` (bytes per second) are wanted at full load; ``base`` is the part of
    the load that is always there. Requests and limits are Kubernetes' own, ``None`` where not set.

    ``idle`` is the part of its memory that it does not use, where that makes a difference; a quarter of that it uses
    from ``wakes`` seconds after the first of it went to swap.
    """

    namespace: str
    name: str
    shape: Shape
    cpu: float
    memory: int
    io: float = 0.0
    base: float = 0.3
    qos_class: QosClass = QosClass.BURSTABLE
    cpu_request: float | None = None
    cpu_limit: float | None = None
    memory_limit: int | None = None
    lifetime: float | None = None
    idle: float = 0.3
    wakes: float | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


class Instance(NamedTuple):
    """A pod that exists: ``born`` in seconds of the workload's time; a finished one has no processes any more."""

    spec: PodSpec
    name: str
    uid: str
    container: str  # an ID of 64 hexadecimal digits, as is the next
    sandbox: str
    born: float
    finished: bool


class Workload:
    """The cast. ``day`` is the length of the diurnal wave in seconds: a real one would bore."""

    def __init__(self, specs: Sequence[PodSpec], *, seed: int = 0, day: float = 120.0) -> None:
        self.specs = tuple(specs)
        self._seed = seed
        self._day = day

    def instances(self, now: float) -> tuple[Instance, ...]:
        """The pods that exist ``now`` seconds after the start."""
        return tuple(self._instances(now))

    def _instances(self, now: float) -> Iterator[Instance]:
        for spec in self.specs:
            if spec.lifetime is None:
                yield self._instance(spec, 0, 0.0, finished=False)
                continue
            # Jobs do not all end at once; each row starts somewhere within its first life.
            cycle = spec.lifetime + LINGER_SECONDS
            phase = self._chance(spec, "phase") * cycle
            number = math.floor((now + phase) / cycle)
            born = number * cycle - phase
            yield self._instance(spec, number, born, finished=now - born >= spec.lifetime)

    def demand(self, instance: Instance, now: float) -> Demand:
        """What a pod wants at this moment."""
        spec = instance.spec
        load = spec.base + (1.0 - spec.base) * self._load(spec, now, now - instance.born)
        noise = 1.0 + _NOISE * (2.0 * self._chance(spec, f"noise {now // _SLOT_SECONDS}") - 1.0)
        # Memory is given back late, if ever: it follows the load at half the swing.
        return Demand(
            cpu=spec.cpu * load * noise,
            memory=int(spec.memory * (0.5 + 0.5 * load)),
            io=spec.io * load * noise,
            weight=cpu_shares(spec),
            cpu_limit=spec.cpu_limit,
            memory_limit=spec.memory_limit,
        )

    def _load(self, spec: PodSpec, now: float, age: float) -> float:
        """0 to 1."""
        if spec.shape is Shape.DIURNAL:
            return 0.5 - 0.5 * math.cos(2 * math.pi * (now / self._day + self._chance(spec, "hour") / 4))
        if spec.shape is Shape.BURSTY:
            burst = self._chance(spec, f"burst {now // _SLOT_SECONDS}")
            return 1.0 if burst < _BURST_CHANCE else _QUIET
        if spec.shape is Shape.BATCH:
            return min(1.0, max(0.0, age) / _RAMP_SECONDS)
        return 1.0

    def _instance(self, spec: PodSpec, number: int, born: float, *, finished: bool) -> Instance:
        identity = f"{self._seed}/{spec.namespace}/{spec.name}/{number}"
        digest = hashlib.sha256(identity.encode()).digest()
        name = spec.name
        if spec.lifetime is not None:
            name += "-" + "".join(_SUFFIX[byte % len(_SUFFIX)] for byte in digest[:5])
        return Instance(
            spec=spec,
            name=name,
            uid=str(uuid.UUID(bytes=digest[:16], version=4)),
            container=hashlib.sha256(digest + b"main").hexdigest(),
            sandbox=hashlib.sha256(digest + b"pause").hexdigest(),
            born=born,
            finished=finished,
        )

    def _chance(self, spec: PodSpec, what: str) -> float:
        """A number from 0 to 1 that is always the same for the same question."""
        return random.Random(f"{self._seed}/{spec.namespace}/{spec.name}/{what}").random()


def cpu_shares(spec: PodSpec) -> int:
    """``cpu.shares`` as the kubelet computes it from the request, or from the limit where there is no request."""
    request = spec.cpu_request if spec.cpu_request is not None else spec.cpu_limit
    if spec.qos_class is QosClass.BEST_EFFORT or not request:
        return 2
    return max(2, int(request * 1024))
