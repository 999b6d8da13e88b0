"""
What an administrator may say about evicting low-priority pods.

``{mode: enforce}`` is a whole configuration. What the figures mean is told in ``docs/policies/eviction.md``.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from plimsoll.config.duration import Duration
from plimsoll.config.section import Mode, Section

_Share = Annotated[float, Field(strict=True, gt=0, le=1)]
_Calm = Annotated[float, Field(strict=True, ge=0, le=0.95)]
_Sustained = Annotated[Duration, Field(ge=10, le=3600)]

_STALLED = "The share of time a pod waits, on the average, from which on it waits too much."
_CALM = "Below this share, seen once, all is well again."
_SUSTAINED = "How long it must wait too much, 10s to 1h."


class StallSection(Section):
    """When a high-priority pod waits too much for one resource."""

    stalled: _Share
    calm: _Calm
    sustained: _Sustained

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.calm >= self.stalled:
            raise ValueError("calm must be below stalled, or it would begin and end at once")
        return self


class CpuStallSection(StallSection):
    """Waiting for a CPU. The time the pod is held back by its own limit does not count."""

    stalled: _Share = Field(0.4, description=_STALLED)
    calm: _Calm = Field(0.2, description=_CALM)
    sustained: _Sustained = Field(60.0, description=_SUSTAINED)


class MemoryStallSection(StallSection):
    """Waiting for memory. What a pod waits because it is at its own limit does not count."""

    stalled: _Share = Field(0.2, description=_STALLED)
    calm: _Calm = Field(0.1, description=_CALM)
    sustained: _Sustained = Field(30.0, description=_SUSTAINED)


class IoStallSection(StallSection):
    """Waiting for disks. A database may wait for its own disk all day: know yours before you enforce."""

    stalled: _Share = Field(0.6, description=_STALLED)
    calm: _Calm = Field(0.3, description=_CALM)
    sustained: _Sustained = Field(60.0, description=_SUSTAINED)


class EvictionSection(Section):
    """A low-priority pod is evicted when high-priority pods have to wait although it gives way to them: last resort."""

    mode: Mode = Field("observe", description="off; observe: decide and report, evict nobody; enforce: evict.")
    cpu: CpuStallSection | None = Field(CpuStallSection(), description="null: nobody is evicted for it.")
    memory: MemoryStallSection | None = Field(MemoryStallSection(), description="null: nobody is evicted for it.")
    io: IoStallSection | None = Field(IoStallSection(), description="null: nobody is evicted for it.")
    node: StrictBool = Field(
        False,
        description="Also where nothing at all runs on the node (PSI full) for want of memory or disks, whoever waits.",
    )
    least_use: Annotated[float, Field(strict=True, gt=0, le=0.5)] = Field(
        0.05,
        description="The smallest share of the node's CPUs, of its memory, or of what low-priority pods read and "
        "write, for which a pod is evicted.",
    )
    settle: Duration = Field(
        180.0, ge=30, le=3600, description="Time between two evictions, and after a start before the first, 30s to 1h."
    )
    max_per_hour: StrictInt = Field(6, ge=1, le=60, description="Evictions in any hour, at most.")
