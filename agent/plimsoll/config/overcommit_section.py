"""
What an administrator may say about memory overcommit.

``{mode: enforce, ratio: 2.0, swapDevice: /dev/vdb}`` is a whole configuration. Which law the figures belong to is told
in ``docs/policies/overcommit.md``.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, WithJsonSchema, model_validator

from plimsoll.config.duration import Duration
from plimsoll.config.quantity import whole
from plimsoll.config.section import Mode, Section

MIB = 1 << 20
DAY = 86_400
# TMO keeps its fleet's drives below this and saw no early wear in years; oomd's senpai has the same constant.
WRITE_BUDGET = MIB

# A path that names no other through "..", and needs no quoting in a log line. UUIDs and labels as mkswap takes them.
_DEVICE = re.compile(
    r"/(?!.*(?:^|/)\.\.?(?:/|$))[A-Za-z0-9._/@:+-]{1,255}|(?:UUID|LABEL)=[A-Za-z0-9._-]{1,64}", re.ASCII
)

# A file in the root folder has one.
_IN_FOLDER = 2

Bytes = Annotated[
    int,
    BeforeValidator(whole),
    Field(ge=0),
    WithJsonSchema({"type": ["string", "integer"], "description": 'A quantity: "512Mi", "1G", or bytes.'}),
]
Ratio = Annotated[float, Field(strict=True, ge=1, le=3)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]


class EnduranceSection(Section):
    """How much a drive may be written, from its data sheet, instead of a rate."""

    capacity: Bytes = Field(gt=0, description="Of the whole drive.")
    dwpd: Annotated[float, Field(strict=True, gt=0, le=100)] = Field(
        description="Drive writes per day the drive is rated for."
    )
    rated_years: Annotated[float, Field(strict=True, gt=0, le=20)] = Field(
        5.0, description="For so many years it is rated."
    )
    years: Annotated[float, Field(strict=True, gt=0, le=20)] = Field(5.0, description="For so many it shall last.")
    share: Annotated[float, Field(strict=True, gt=0, le=1)] = Field(
        0.5, description="The share of its life that may go to swap."
    )

    @property
    def rated(self) -> float:
        """Bytes it is rated for in its whole life."""
        return self.capacity * self.dwpd * 365 * self.rated_years

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self.capacity * self.dwpd / DAY * self.rated_years / self.years * self.share


class StepSection(Section):
    """What one pod may be asked for at once, as shares of what it has that swap could hold."""

    start: Annotated[float, Field(strict=True, gt=0, le=0.2)] = Field(
        0.005, description="To begin with, where it is not known what is cold."
    )
    smallest: Annotated[float, Field(strict=True, gt=0, le=0.2)] = Field(0.002, description="After many back-offs.")
    largest: Annotated[float, Field(strict=True, gt=0, le=0.2)] = Field(
        0.025, description="When nothing hurts; four times that where it is known what is cold."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.smallest <= self.start <= self.largest:
            raise ValueError("step: smallest must be at most start, and that at most largest")
        return self


class OvercommitSection(Section):
    """Cold memory of low-priority pods is moved to a swap device of their own, as long as it does not hurt them."""

    mode: Mode = Field("observe", description="off; observe: decide and report, write nothing; enforce: act.")
    ratio: Ratio = Field(
        1.0, description="(in memory + on the device) / in memory, over all low-priority pods. 1.0 is off."
    )
    basis: Literal["anon", "total"] = Field(
        "anon",
        description="What the ratio is reckoned with. anon: what swap can hold; total: page cache too.",
    )
    target: Literal["ratio", "budget"] = Field(
        "ratio", description="ratio: reclaim until the ratio is reached; budget: until the pods fit the budget."
    )
    budget: Bytes | None = Field(
        None, description="The memory low-priority pods may have together, with target: budget."
    )
    swap_device: str | None = Field(
        None,
        description="The device only low-priority pods may swap to: a path, UUID=… or LABEL=… as mkswap gave it.",
    )
    activate: StrictBool = Field(False, description="Turn swapDevice on (swapon) where it is not. mkswap is never run.")
    swap_file_size: Bytes | None = Field(
        None,
        ge=MIB,
        description="With activate: where nothing is at swapDevice, a path in a folder on ext4 or XFS, make a swap "
        "file of this size. onExit: drain removes it.",
    )
    watermark: Annotated[float, Field(strict=True, ge=0.0001, le=0.05)] = Field(
        0.001,
        description="Share of time a pod may wait for swap, on the average; ten minutes' worth may come at once.",
    )
    step: StepSection = StepSection()
    window: Duration = Field(
        180.0,
        ge=10,
        le=3600,
        description="Memory that was not used for so long is cold, 10s to 1h. The longer, the later it is moved, and "
        "the less of it comes back.",
    )
    interval: Duration = Field(10.0, ge=2, le=300, description="Time between two requests of a pod, 2s to 5m.")
    write_budget: Bytes | None = Field(
        None, gt=0, description="Bytes per second the device may be written, on the average; 1Mi without endurance."
    )
    endurance: EnduranceSection | None = Field(None, description="Bounds what is written by the life of the drive.")
    device_floor: Annotated[float, Field(strict=True, ge=0.11, le=0.9)] = Field(
        0.2, description="The share of the device kept free; systemd-oomd kills where less than a tenth is."
    )
    pod_floor: Bytes = Field(64 * MIB, description="No pod's memory is taken below this.")
    probation: Duration = Field(60.0, ge=0, le=3600, description="How long a new pod is left alone, up to 1h.")
    pod_ratio: Annotated[float, Field(strict=True, gt=1, le=10)] = Field(
        4.0, description="The ratio no single pod goes beyond, so that one cold pod does not carry all."
    )
    stop_when_shared: StrictBool = Field(
        True, description="Reclaim nothing while the device is known to hold memory of other than low-priority pods."
    )
    selector: Literal["auto", "damon", "mglru", "plain"] = Field(
        "auto", description="How cold memory is found. auto: the best this node has; otherwise that one, or plain."
    )
    on_exit: Literal["leave", "drain"] = Field(
        "leave",
        description="What becomes of memory on the device when the agent ends. leave: it stays until used; drain: "
        "it comes back first, as far as there is room.",
    )
    drain_timeout: Duration = Field(
        60.0, ge=1, le=3600, description="How long that may take, up to 1h; the pod's grace period must be longer."
    )
    publish: StrictBool = Field(
        False,
        description="Tell the cluster what becomes available, as the node's resource plimsoll.io/low-memory in bytes.",
    )
    high_pressure_limit: Share = Field(
        0.05,
        description="Everything stops while a high-priority pod waits for memory for more than this share of time, or "
        "for I/O for so much more than usual.",
    )

    @property
    def write_rate(self) -> float:
        """What the device may be written in bytes per second, on the average."""
        if self.endurance is None:
            return float(WRITE_BUDGET if self.write_budget is None else self.write_budget)
        return self.endurance.rate if self.write_budget is None else min(self.write_budget, self.endurance.rate)

    @property
    def wanted(self) -> bool:
        """Whether there is a target at all."""
        return self.ratio > 1 if self.target == "ratio" else self.budget is not None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.target == "budget" and self.budget is None:
            raise ValueError("target: budget needs a budget")
        if self.target == "ratio" and self.pod_ratio < self.ratio:
            raise ValueError("podRatio below ratio would keep it from ever being reached")
        if self.target == "ratio" and self.budget is not None:
            raise ValueError("a budget counts only with target: budget")
        if self.activate and self.swap_device is None:
            raise ValueError("activate needs a swapDevice")
        if self.swap_device is not None and _DEVICE.fullmatch(self.swap_device) is None:
            raise ValueError("swapDevice must be an absolute path, UUID=… or LABEL=…")
        if self.swap_file_size is not None:
            self._check_file()
        return self

    def _check_file(self) -> None:
        if not self.activate or self.swap_device is None:
            raise ValueError("swapFileSize needs activate and a swapDevice")
        if not self.swap_device.startswith("/") or self.swap_device.startswith("/dev/"):
            raise ValueError("swapFileSize needs a swapDevice that is the path of a file, not below /dev")
        if self.swap_device.endswith("/") or self.swap_device.count("/") < _IN_FOLDER:
            raise ValueError("swapFileSize needs a swapDevice in a folder: it alone is mounted into the agent's pod")
