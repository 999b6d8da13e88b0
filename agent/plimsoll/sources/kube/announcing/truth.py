"""
What is true of the pods now, from what every tick says. Pure, given the time.

What flaps counts as true: something is no longer so only after it was not said for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from plimsoll.sources.kube.announcing.notice import Certainty, Key, Notice, Said


class Truth(StrEnum):
    """The values are those of a condition's status in Kubernetes."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(slots=True)
class Matter:
    """
    One notice and whether it is true. ``unsaid``: since when it is not said (``None``: it is said now). ``rose``: this
    tick made it true.
    """

    notice: Notice
    truth: Truth
    unsaid: float | None = None
    rose: bool = False


class Matters:
    """By key, everything that is or was true of the pods there are. Times are the caller's monotonic seconds."""

    def __init__(self, settle: float) -> None:
        self._settle = settle
        self._matters: dict[Key, Matter] = {}

    @property
    def all(self) -> Mapping[Key, Matter]:
        return self._matters

    def adopt(self, notice: Notice, truth: Truth, now: float) -> None:
        """What an agent before this one said last, unless this one knows better."""
        self._matters.setdefault(notice.key, Matter(notice, truth, unsaid=now))

    def hear(self, said: Said, now: float) -> None:
        """Take in one tick; pods that are gone are forgotten."""
        for key in [key for key in self._matters if key[0] not in said.pods]:
            del self._matters[key]
        for key, notice in said.notices.items():
            matter = self._matters.get(key)
            if matter is None:
                self._matters[key] = Matter(notice, Truth.TRUE, rose=True)
            else:
                matter.rose = matter.truth is not Truth.TRUE
                matter.notice, matter.truth, matter.unsaid = notice, Truth.TRUE, None
        self._fall((each for key, each in self._matters.items() if key not in said.notices), said, now)

    def _fall(self, unsaid: Iterable[Matter], said: Said, now: float) -> None:
        for matter in unsaid:
            matter.rose = False
            certainty = said.certainty.get(matter.notice.origin, Certainty.SILENT)
            if certainty is Certainty.HELD:
                continue
            if matter.unsaid is None:
                matter.unsaid = now
            if now - matter.unsaid >= self._settle:
                known = certainty is Certainty.DECIDED and matter.notice.key not in said.withheld
                matter.truth = Truth.FALSE if known else Truth.UNKNOWN
