"""
The Prometheus text format, written fast.

A metric family is data; its samples are series with a value each. A series keeps the text of its labels and of its
last line, because spelling them costs far more than telling that nothing changed. It must not know what any metric
means.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from prometheus_client.core import Metric

Labels = tuple[str, ...]


class Family(NamedTuple):
    """
    ``kind`` is ``counter`` or ``gauge``; a counter's ``name`` ends in ``_total``.

    With ``decimals`` the samples are whole numbers, none below 0, of that many decimal places: microseconds of a family
    in seconds have 6. They are spelled exactly; a float would lose microseconds after some years.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    decimals: int = 0


class Series:
    """
    One series of a family, by its label values, with its present ``value``.

    Whoever produces samples keeps it from tick to tick and sets the value before each page.
    """

    __slots__ = ("labels", "line", "prefix", "spelt", "value")

    def __init__(self, family: Family, labels: Labels = (), value: float = 0) -> None:
        pairs = ",".join(f'{key}="{_escape(value)}"' for key, value in zip(family.labels, labels, strict=True))
        self.labels = labels
        self.prefix = f"{family.name}{{{pairs}}} " if labels else f"{family.name} "
        self.value = value
        self.line = ""
        self.spelt: float | None = None  # the value on the line


Samples = Sequence[Series]
Sampled = tuple[Family, Sequence[tuple[Labels, float]]]
"""A family with the label values and value of each of its samples."""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def render(families: Iterable[tuple[Family, Samples]]) -> bytes:
    """The page in text format 0.0.4. Families without samples are left out."""
    lines: list[str] = []
    for family, samples in families:
        if not samples:
            continue
        help_text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
        lines.append(f"# HELP {family.name} {help_text}\n# TYPE {family.name} {family.kind}\n")
        decimals = family.decimals
        for series in samples:
            if series.value != series.spelt:
                series.spelt = series.value
                text = repr(series.value)
                if decimals:
                    text = text.zfill(decimals + 1)
                    series.line = f"{series.prefix}{text[:-decimals]}.{text[-decimals:]}\n"
                else:
                    series.line = f"{series.prefix}{text}\n"
            lines.append(series.line)
    # A lone surrogate, which JSON can carry, has no UTF-8: it must not cost the page.
    return "".join(lines).encode("utf-8", "replace")


def metrics(families: Iterable[tuple[Family, Samples]]) -> Iterable[Metric]:
    """The same samples as prometheus-client's own objects: the reference our text is tested against."""
    for family, samples in families:
        if samples:
            metric = Metric(family.name.removesuffix("_total"), family.help, family.kind)
            for series in samples:
                labels = dict(zip(family.labels, series.labels, strict=True))
                metric.add_sample(family.name, labels, series.value / 10**family.decimals)
            yield metric
