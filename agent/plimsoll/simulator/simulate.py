"""
``plimsoll simulate``: what a policy comes to without a node, as pictures and numbers.

Of frequency groups, on a machine of any description: what lowering the low group's frequency saves, by a model of
power, and how the high group's size follows use. Of overcommit: how the ratio climbs, and how a pod backs off. Both by
the policies the agent runs. Touches nothing but the folder it writes to.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence

from plimsoll.config.loader import load_config
from plimsoll.config.machine import Machine, load_machine
from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.config.schema import Config
from plimsoll.policies.frequency_ceiling import low_ceiling
from plimsoll.simulator.chart import Axis, Chart, Line, svg
from plimsoll.simulator.paging_charts import (
    NODE_COLUMNS,
    POD_COLUMNS,
    figures_of,
    node_rows,
    pod_chart,
    pod_rows,
    ratio_chart,
)
from plimsoll.simulator.paging_trial import trial
from plimsoll.simulator.power import Load, Point, curve, units
from plimsoll.simulator.replay import Second, replay
from plimsoll.simulator.traces import SHAPES, trace

EX_OK = 0
_SECONDS, _OVERCOMMIT_SECONDS = 7200, 1800
# What docs/policies/overcommit.md calls a whole configuration.
_OVERCOMMIT: Mapping[str, object] = {"mode": "enforce", "ratio": 2.0, "swapDevice": "/dev/vdb"}
# A curve of hours has more points than a picture has pixels.
_POINTS = 900


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments; :func:`simulate` takes the result."""
    parser.add_argument(
        "--output", metavar="DIR", default=".", help="where the pictures and numbers go (default: here)"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="the agent's, for its section frequency or overcommit (default: built-in)"
    )
    parser.add_argument(
        "--overcommit",
        action="store_true",
        help="overcommit, and not frequency groups: pods on a model of paging; of the other options only --config, "
        "--output, --seconds and --format count",
    )
    parser.add_argument(
        "--low-group-max-mhz", type=_megahertz, metavar="N", help="the slow cores' ceiling, whatever the configuration"
    )
    parser.add_argument("--machine", metavar="FILE", help="a YAML description; the options below override it")
    for name, field in Machine.model_fields.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=float if field.annotation is float else int,
            metavar="N",
            help=f"{field.description} (default: {field.default:g})",
        )
    parser.add_argument("--high-share", type=_share, default=0.25, metavar="SHARE", help="of the cores that are fast")
    parser.add_argument("--high-use", type=_share, default=0.65, metavar="SHARE", help="of the time they are busy")
    parser.add_argument("--low-use", type=_share, default=1.0, metavar="SHARE", help="the same of the slow ones")
    parser.add_argument("--trace", choices=sorted(SHAPES), default="diurnal", help="the load (default: %(default)s)")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        metavar="N",
        help=f"of the trace (default: {_SECONDS}; {_OVERCOMMIT_SECONDS} with --overcommit)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another number, another load")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    parser.set_defaults(run=simulate)


def _megahertz(text: str) -> int:
    value = int(text)
    if not 100 <= value <= 25_500:
        raise argparse.ArgumentTypeError("from 100 to 25500")
    return value


def simulate(options: argparse.Namespace) -> int:
    """
    Write pictures and numbers and say what they come to; exit code 0.

    Those are ``power.svg``, ``power.csv``, ``group.svg``, ``group.csv``; of overcommit ``overcommit.svg`` and ``.csv``,
    ``overcommit-pod.svg``, ``overcommit-pods.csv``. Raises ConfigError for a machine or a configuration that cannot be,
    OSError for a file or folder that cannot be used.
    """
    summary = _overcommit(options) if options.overcommit else _frequency(options)
    if options.format == "json":
        sys.stdout.write(json.dumps(summary, indent=2) + "\n")
    else:
        sys.stdout.writelines(
            f"{name.replace('_', ' '):<32} {'never' if value is None else format(value, 'g'):>10}\n"
            for name, value in summary.items()
        )
    return EX_OK


def _overcommit(options: argparse.Namespace) -> Mapping[str, float | None]:
    agents = load_config(options.config).overcommit if options.config else None
    config = agents or OvercommitSection.model_validate(_OVERCOMMIT)
    if config.swap_device is None:
        # The model's own, whatever it is called.
        config = config.model_copy(update={"swap_device": _OVERCOMMIT["swapDevice"]})
    moments = tuple(trial(config, options.seconds or _OVERCOMMIT_SECONDS))
    os.makedirs(options.output, exist_ok=True)
    _write(options.output, "overcommit.svg", svg(ratio_chart(moments)))
    _write(options.output, "overcommit.csv", _csv(NODE_COLUMNS, node_rows(moments)))
    _write(options.output, "overcommit-pod.svg", svg(pod_chart(moments)))
    _write(options.output, "overcommit-pods.csv", _csv(POD_COLUMNS, pod_rows(moments)))
    return figures_of(moments)


def _frequency(options: argparse.Namespace) -> Mapping[str, float | None]:
    changes = {
        field.alias or name: getattr(options, name)
        for name, field in Machine.model_fields.items()
        if getattr(options, name) is not None
    }
    machine = load_machine(options.machine, **changes)
    config = (load_config(options.config) if options.config else Config()).frequency
    if options.low_group_max_mhz is not None:
        config = config.model_copy(update={"low_group_max_mhz": options.low_group_max_mhz})
    points = tuple(curve(machine, Load(options.high_share, options.high_use, options.low_use)))
    cpus = machine.packages * machine.cores * machine.threads
    needs = [cpus * each for each in trace(options.trace, options.seconds or _SECONDS, options.seed)]
    seconds = tuple(replay(needs, units(machine), config, request_cpus=sum(needs) / len(needs)))

    os.makedirs(options.output, exist_ok=True)
    chosen = low_ceiling(units(machine)[0], config.low_group_max_mhz)
    _write(options.output, "power.svg", svg(power_chart(machine, points)))
    _write(options.output, "power.csv", _csv(("low_mhz", "high_mhz", "watts", "low_work"), points))
    _write(options.output, "group.svg", svg(group_chart(cpus, options.trace, seconds)))
    rows = ((second, f"{each.need:.3f}", each.cpus, len(each.units)) for second, each in enumerate(seconds))
    _write(options.output, "group.csv", _csv(("second", "need_cpus", "high_group_cpus", "high_group_units"), rows))
    return _summary(machine, points, seconds, chosen)


def power_chart(machine: Machine, points: Sequence[Point]) -> Chart:
    """Package power against the low group's frequency."""
    most = max(each.watts for each in points)
    return Chart(
        title="Power against the low group's frequency",
        across=Axis("ceiling of the low group (MHz)", machine.lowest_mhz - 60, machine.base_mhz + 60),
        left=Axis("power of all packages (W)", 0, 1.05 * most),
        right=Axis("high group reaches (MHz)", 0, 1.05 * machine.turbo_mhz),
        places=[each.low_mhz for each in points],
        bars=[each.watts for each in points],
        bars_name="power",
        lines=[Line("high group reaches", [each.high_mhz for each in points], right=True)],
    )


def group_chart(cpus: int, name: str, seconds: Sequence[Second]) -> Chart:
    """How many CPUs are fast, and how many of them are used."""
    step = max(1, len(seconds) // _POINTS)
    # The largest of what falls on one point: a peak must not be left out.
    parts = [seconds[place : place + step] for place in range(0, len(seconds), step)]
    return Chart(
        title=f"High group and use, trace {name}",
        across=Axis("minutes", 0, len(seconds) / 60),
        left=Axis("CPUs", 0, cpus),
        places=[place * step / 60 for place in range(len(parts))],
        lines=[
            Line("CPUs of the high group", [min(each.cpus for each in part) for part in parts], stepped=True),
            Line("high-priority pods need", [max(each.need for each in part) for part in parts]),
        ],
    )


def _summary(
    machine: Machine, points: Sequence[Point], seconds: Sequence[Second], chosen: int | None
) -> dict[str, float]:
    full = points[-1].watts
    at = min(points, key=lambda each: abs(each.low_mhz - (chosen or machine.base_mhz)))
    needed = sum(each.need for each in seconds)
    return {
        "watts_at_base": round(full, 1),
        "low_group_max_mhz": at.low_mhz,
        "watts_at_low_group_max": round(at.watts, 1),
        "saved_percent": round(100 * (1 - at.watts / full), 1),
        "low_group_work_percent": round(100 * at.low_work, 1),
        "high_group_mhz_at_base": points[-1].high_mhz,
        "high_group_mhz_at_low_group_max": at.high_mhz,
        "needed_cpu_seconds": round(needed),
        "unmet_cpu_seconds": round(sum(max(0.0, each.need - each.cpus) for each in seconds), 1),
        "high_group_cpus_mean": round(sum(each.cpus for each in seconds) / len(seconds), 1),
        "high_group_cpus_least": min(each.cpus for each in seconds),
        "high_group_cpus_most": max(each.cpus for each in seconds),
    }


def _csv(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([f"{each:.4g}" if isinstance(each, float) else each for each in row] for row in rows)
    return out.getvalue()


def _write(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        file.write(text)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def _seconds(text: str) -> int:
    value = int(text)
    if not 60 <= value <= 86_400:
        raise ValueError(text)
    return value
