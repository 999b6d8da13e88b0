"""What an administrator may say about the frequency groups. ``mode: enforce`` alone is a whole configuration."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StrictInt, model_validator

from plimsoll.config.duration import Duration
from plimsoll.config.section import OFF, ON_OFF, Mode, Section

Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Megahertz = Annotated[int, Field(strict=True, ge=100, le=25_500)]


class FrequencySection(Section):
    """High-priority pods run on fast CPUs, low-priority ones on slow CPUs; how many are fast follows use."""

    mode: Mode = Field("observe", description="off; observe: decide and report, write nothing; enforce: write.")
    interval: Duration = Field(
        1.0,
        ge=1,
        le=60,
        description="How often the node is observed at least while this enforces, 1s to 60s; pressure.interval may be "
        "shorter.",
    )
    low_group_max_mhz: Literal["auto"] | Megahertz = Field(
        "auto",
        alias="lowGroupMaxMHz",
        description="The ceiling of low-priority CPUs, kept between the lowest and the base frequency. auto: half-way.",
    )
    high_group_min_mhz: Literal["auto"] | Megahertz = Field(
        "auto",
        alias="highGroupMinMHz",
        description="The floor of high-priority CPUs, at most the base frequency. auto: the base frequency with Speed "
        "Select, none otherwise.",
    )
    normal_pods: Literal["untouched", "low", "all"] = Field(
        "untouched",
        description="Where normal-priority pods run. untouched: anywhere, so also on slow CPUs; low: with the "
        "low-priority ones; all: anywhere but on CPUs the kubelet gave to one container alone, whatever else they had.",
    )
    energy_preference: Annotated[Literal["auto", "off"], OFF] = Field(
        "auto", description="auto: also make slow CPUs prefer saving power, where cpufreq has such a preference."
    )
    turbo_frequency: Annotated[Literal["auto", "on", "off"], ON_OFF] = Field(
        "off",
        description="Speed Select's turbo frequency (SST-TF). auto: on where it is supported and the smallest high "
        "group fits its largest bucket; on: wherever it is supported.",
    )
    target_utilization: Annotated[float, Field(strict=True, ge=0.3, le=0.9)] = Field(
        0.65, description="The high group is sized so that high-priority pods use this share of it."
    )
    grow_above: Annotated[float, Field(strict=True, ge=0.35, le=0.95)] = Field(
        0.8, description="It grows when they use more than this share of it in two seconds running."
    )
    shrink_below: Annotated[float, Field(strict=True, ge=0.1, le=0.9)] = Field(
        0.6, description="It shrinks only when they used less than this share of it all through the window."
    )
    pressure_threshold: Share = Field(
        0.1, description="Share of time high-priority pods may wait for a CPU before the group grows at once."
    )
    growth_factor: Annotated[float, Field(strict=True, ge=1.1, le=4)] = Field(
        1.5, description="How many times larger the group becomes while what is needed is hidden by its being full."
    )
    window: Duration = Field(120.0, ge=1, le=3600, description="How far back the use goes that must fit, 1s to 1h.")
    cool_down: Duration = Field(30.0, ge=0, le=3600, description="Time after any change before the group may shrink.")
    shrink_step: Annotated[float, Field(strict=True, gt=0, le=1)] = Field(
        0.25, description="The largest share of the group given up at once; a unit in any case."
    )
    request_floor_ratio: Share = Field(
        0.5, description="The group never is smaller than this share of the high-priority pods' CPU requests."
    )
    min_high_units: Annotated[StrictInt, Field(ge=0, le=1024)] = Field(
        1, description="The fewest cores in the high group, on each NUMA node with high-priority pods."
    )
    max_high_ratio: Annotated[float, Field(strict=True, gt=0, le=1)] = Field(
        0.9, description="The largest share of the cores the high group may have."
    )
    min_low_units: Annotated[StrictInt, Field(ge=1, le=1024)] = Field(
        1, description="The fewest cores left to low-priority pods."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.shrink_below <= self.target_utilization < self.grow_above:
            raise ValueError("shrinkBelow must be at most targetUtilization, and that less than growAbove")
        return self
