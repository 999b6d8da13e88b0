"""Why the swap device cannot be used, or is not known to be dedicated: a closed set of label values. Keep it stable."""

from __future__ import annotations

from enum import StrEnum


class SwapReason(StrEnum):
    """Each is one cause a person can act on."""

    DEVICE_AMBIGUOUS = "device-ambiguous"  # several devices carry the configured UUID or label
    DEVICE_MISSING = "device-missing"
    DEVICE_REMOVED = "device-removed"  # while it was in use, and the kernel has not let go of it
    DEVICE_UNREADABLE = "device-unreadable"
    NOT_MADE = "not-made"  # nothing is there, and the agent cannot make the file (overcommit.swapFileSize)
    NOT_ACTIVE = "not-active"  # there, but nobody has called swapon for it
    NOT_SWAP = "not-swap"  # there, but mkswap has not been run on it
    NO_ACCOUNTING = "no-accounting"  # this node does not say which cgroup swaps
    NOT_LOOKED = "not-looked"  # the agent has just started
    UNREADABLE = "unreadable"  # a figure that is needed may not be read
    # The device is shared, or may come to be:
    OTHER_DEVICE = "other-device"  # low-priority memory may go to another device as well
    OTHERS_SWAP = "others-swap"  # a cgroup that is no low-priority pod has memory in swap
    POD_OPEN = "pod-open"  # a pod that is not of low priority may swap
    UNACCOUNTED = "unaccounted"  # the device holds more than the low-priority pods have in swap
    ZSWAP = "zswap"  # what is swapped out stays in memory, compressed
