"""
The Prometheus text format, written fast.

A metric family is data; its samples are pairs of label values and a number already spelled as text. The rendered
``name{labels}`` of a series is kept from tick to tick, because building it costs far more than the number behind it. It
must not know what any metric means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from prometheus_client.core import Metric


class Family(NamedTuple):
    """``kind`` is ``counter`` or ``gauge``; a counter's ``name`` ends in ``_total``."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


Labels = tuple[str, ...]
Samples = Sequence[tuple[Labels, str]]


def seconds(microseconds: int) -> str:
    """Microseconds as seconds, exact: a float would lose microseconds after some years."""
    whole, part = divmod(microseconds, 1_000_000)
    return f"{whole}.{part:06d}"


def ratio(hundredths: int) -> str:
    """Hundredths of a percent as a ratio, exact."""
    return f"{hundredths // 10000}.{hundredths % 10000:04d}"


def number(value: float) -> str:
    """A float in its shortest exact spelling."""
    return str(value) if isinstance(value, int) else repr(value)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


class Renderer:
    """Writes pages; remembers the prefixes of the series that were on the last page, and only those."""

    def __init__(self) -> None:
        self._prefixes: dict[tuple[str, Labels], str] = {}

    def render(self, families: Iterable[tuple[Family, Samples]]) -> bytes:
        """The page in text format 0.0.4. Families without samples are left out."""
        kept: dict[tuple[str, Labels], str] = {}
        known = self._prefixes
        lines: list[str] = []
        for family, samples in families:
            if not samples:
                continue
            name = family.name
            help_text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
            lines.append(f"# HELP {name} {help_text}\n# TYPE {name} {family.kind}\n")
            for labels, value in samples:
                key = (name, labels)
                prefix = known.get(key) or _prefix(family, labels)
                kept[key] = prefix
                lines.append(f"{prefix}{value}\n")
        self._prefixes = kept
        return "".join(lines).encode()


def _prefix(family: Family, labels: Labels) -> str:
    if not labels:
        return f"{family.name} "
    pairs = ",".join(f'{key}="{_escape(value)}"' for key, value in zip(family.labels, labels, strict=True))
    return f"{family.name}{{{pairs}}} "


def metrics(families: Iterable[tuple[Family, Samples]]) -> Iterable[Metric]:
    """The same samples as prometheus-client's own objects: the reference our text is tested against."""
    for family, samples in families:
        if samples:
            metric = Metric(family.name.removesuffix("_total"), family.help, family.kind)
            for labels, value in samples:
                metric.add_sample(family.name, dict(zip(family.labels, labels, strict=True)), float(value))
            yield metric
