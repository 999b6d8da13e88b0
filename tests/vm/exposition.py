"""One page of metrics as values, read with Prometheus' own parser: the agent's writer is not checked with itself."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Labels = dict[str, str]


class Page:
    """What a page in the Prometheus text format says."""

    def __init__(self, text: str) -> None:
        self._samples = [each for family in text_string_to_metric_families(text) for each in family.samples]

    def series(self, name: str, **labels: str) -> list[tuple[Labels, float]]:
        """All series of this name that have these labels."""
        return [
            (dict(each.labels), each.value)
            for each in self._samples
            if each.name == name and labels.items() <= each.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """The value of the one series that fits. Raises AssertionError when there is none or there are several."""
        found = self.series(name, **labels)
        assert len(found) == 1, f"{name}{labels}: {found}"
        return found[0][1]

    def all(self) -> list[tuple[str, Labels, float]]:
        """Every sample."""
        return [(each.name, dict(each.labels), each.value) for each in self._samples]
