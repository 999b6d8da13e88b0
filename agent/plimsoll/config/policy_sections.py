"""What an administrator may say to the policies, one section each. What writes only observes by default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plimsoll.config.section import OFF, Mode, Section


class PreemptionSection(Section):
    """Low-priority pods give way to all others, in CPU time and in memory."""

    mode: Mode = Field("observe", description="off; observe: decide and report, write nothing; enforce: write.")
    cpu: Annotated[Literal["auto", "idle", "weight", "off"], OFF] = Field(
        "auto",
        description="How low-priority pods give way on the CPU. auto: cpu.qos_level, else cpu.idle, else the smallest "
        "cpu.weight or cpu.shares; idle, weight: that one only, which can always be taken back.",
    )
    memory: Annotated[Literal["auto", "off"], OFF] = Field(
        "auto",
        description="auto: memory.qos_level of low-priority pods where the kernel has it, and memory.low of "
        "high-priority pods on cgroup v2.",
    )
    memory_protection_share: Annotated[float, Field(strict=True, gt=0, le=0.9)] = Field(
        0.5, description="The largest share of the node's memory that memory.low may protect, all pods together."
    )


class IoLimitSection(Section):
    """Pods get no more of a disk than their owners say."""

    mode: Mode = Field("observe", description="off; observe: decide and report, write nothing; enforce: write.")
    system_disk: Literal["refuse", "allow"] = Field(
        "refuse",
        description="Whether pods may be limited on disks the node itself lives on: its root, the kubelet's, the "
        "container runtime's. A pod that waits there with a lock of the file system held makes all others wait.",
    )
