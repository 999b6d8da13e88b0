"""An API server source that was started, and what tests ask of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from plimsoll.config.schema import PrioritySection
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import PodSet
from plimsoll.sources.kube import KubePods


@dataclass(kw_only=True)
class Following:
    """``patience`` is seconds, for a busy machine: each wait ends with its condition."""

    source: KubePods
    priority: PrioritySection = field(default_factory=PrioritySection)
    patience: float = 60.0

    def now(self) -> PodSet:
        return self.source.observe(self.priority)

    def names(self) -> set[str]:
        return {pod.name for pod in self.now().pods}

    def priorities(self) -> dict[str, Priority]:
        return {pod.name: pod.priority for pod in self.now().pods}

    def errors(self, reason: str) -> int:
        return self.now().state.errors.get(reason, 0)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, f"not {what} in {self.patience:g} s: {self._view()}"
            time.sleep(0.005)

    def until_names(self, *names: str) -> None:
        self.until(lambda: self.names() == set(names), f"following {sorted(names)[:5]}, {len(names)} in all")

    def _view(self) -> str:
        now = self.now()
        return f"{sorted(pod.name for pod in now.pods)[:5]}, {len(now.pods)} in all; {now.state}"
