"""``plimsoll simulate``: its model, its traces, its pictures, and that the policy keeps what was promised of it."""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pydantic import ValidationError

from plimsoll.config.frequency_section import FrequencySection
from plimsoll.config.machine import Machine, load_machine
from plimsoll.config.problem import ConfigError
from plimsoll.simulator.chart import Axis, Chart, Line, svg
from plimsoll.simulator.power import Load, core_watts, curve, package_watts, units, volts
from plimsoll.simulator.simulate import add_arguments
from plimsoll.simulator.traces import SHAPES, trace
from tests.bench.frequency import RULES, Score, case_of, score
from tests.reference import DOCS

SVG = "{http://www.w3.org/2000/svg}"


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = parser.parse_args(arguments)
    return int(options.run(options))


def test_the_power_model() -> None:
    """A package with every core busy at its base frequency takes its TDP; power follows C V^2 f."""
    machine = Machine()
    everything = Load(high_share=0.0, high_use=0.0, low_use=1.0)
    assert package_watts(machine, everything, machine.base_mhz, 0) == pytest.approx(machine.tdp_watts)
    assert volts(machine, 1400) == pytest.approx((machine.lowest_volts + machine.base_volts) / 2)
    ratio = core_watts(machine, 1400) / core_watts(machine, 2000)
    # 0.725 V against 0.8 V, at seven tenths of the frequency.
    assert ratio == pytest.approx(0.7 * (0.725 / 0.8) ** 2)


@pytest.mark.parametrize("load", [Load(), Load(high_share=0.6, high_use=1.0), Load(low_use=0.3)])
def test_the_curve(load: Load) -> None:
    """Slower batch, less power or more turbo, never above the TDP where that can be kept; to the base frequency."""
    machine = Machine()
    points = list(curve(machine, load))
    assert (points[0].low_mhz, points[-1].low_mhz) == (machine.lowest_mhz, machine.base_mhz)
    for slower, faster in pairwise(points):
        assert slower.high_mhz >= faster.high_mhz
        assert slower.watts < faster.watts or slower.high_mhz > faster.high_mhz
    for each in points:
        assert machine.base_mhz <= each.high_mhz <= machine.turbo_mhz
        assert each.watts <= machine.packages * machine.tdp_watts + 1e-6


def test_units_are_numbered_as_linux_does() -> None:
    """Every CPU once, siblings together, one NUMA node a package."""
    found = units(Machine(packages=2, cores=4, threads=2))
    assert found[0].cpus == {0, 8}
    assert found[-1].cpus == {7, 15}
    assert frozenset().union(*(each.cpus for each in found)) == frozenset(range(16))
    assert [each.numa for each in found] == [0] * 4 + [1] * 4


@pytest.mark.parametrize("shape", list(SHAPES))
def test_traces(shape: str) -> None:
    """As long as asked for, within the machine, the same for the same seed, another for another, and never flat."""
    first = trace(shape, 3600, 1)
    assert len(first) == 3600
    assert first == trace(shape, 3600, 1) != trace(shape, 3600, 2)
    assert trace(shape, 100, 1) == first[:100]
    assert 0 <= min(first) < max(first) <= 1
    assert statistics.stdev(first) > 0.02


@pytest.mark.parametrize("shape", list(SHAPES))
def test_the_goals_in_small(shape: str) -> None:
    """One seed of each trace of tests/bench/frequency.py: the three goals of the whole hold for every one of them."""
    case = case_of(shape, 5, FrequencySection())
    found: dict[str, Score] = {name: score(case, RULES[name]) for name in ("policy", "static", "threshold", "oracle")}
    ours = found["policy"]
    assert found["static"].unmet > 1000
    assert ours.unmet < 0.001 * found["static"].unmet
    assert ours.over < 1.15 * found["oracle"].over
    assert ours.moves < 0.25 * found["threshold"].moves


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two pictures that are XML, and the numbers they show; the summary agrees with both."""
    (tmp_path / "machine.yaml").write_text("cores: 16\ntdpWatts: 205.0\n")
    out = tmp_path / "out"
    arguments = ["--output", str(out), "--machine", str(tmp_path / "machine.yaml"), "--packages", "1"]
    arguments += ["--low-group-max-mhz", "1000", "--trace", "step", "--seconds", "400"]
    assert run(*arguments, "--format", "json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert sorted(each.name for each in out.iterdir()) == ["group.csv", "group.svg", "power.csv", "power.svg"]
    with (out / "power.csv").open() as file:
        power = list(csv.DictReader(file))
    with (out / "group.csv").open() as file:
        group = list(csv.DictReader(file))
    assert len(group) == 400
    assert summary["low_group_max_mhz"] == 1000
    at = next(each for each in power if each["low_mhz"] == "1000")
    assert float(at["watts"]) == pytest.approx(summary["watts_at_low_group_max"], rel=1e-3)
    assert float(power[-1]["watts"]) <= 205.1
    sizes = [int(each["high_group_cpus"]) for each in group]
    assert (summary["high_group_cpus_least"], summary["high_group_cpus_most"]) == (min(sizes), max(sizes))
    assert max(sizes[1:]) <= 32
    assert min(sizes) < max(sizes)
    bars = ET.parse(out / "power.svg").findall(f"{SVG}rect")
    assert len(bars) == len(power) + 1
    heights = [float(each.attrib["height"]) for each in bars[1:]]
    shares = [float(each["watts"]) / float(power[0]["watts"]) for each in power]
    assert [each / heights[0] for each in heights] == pytest.approx(shares, rel=2e-3)
    assert len(ET.parse(out / "group.svg").findall(f"{SVG}path")) == 3
    assert run(*arguments) == 0
    assert "saved percent" in capsys.readouterr().out


def test_overcommit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The ratio climbs to its target and no further than one decision, nobody waits until the work of one pod changes;
    that pod has its memory back and is left alone; pictures, numbers and summary agree.
    """
    arguments = ["--overcommit", "--output", str(tmp_path), "--seconds", "1200"]
    assert run(*arguments, "--format", "json") == 0
    summary = json.loads(capsys.readouterr().out)
    names = ["overcommit-pod.svg", "overcommit-pods.csv", "overcommit.csv", "overcommit.svg"]
    assert sorted(each.name for each in tmp_path.iterdir()) == names
    with (tmp_path / "overcommit.csv").open() as file:
        node = list(csv.DictReader(file))
    with (tmp_path / "overcommit-pods.csv").open() as file:
        pods = list(csv.DictReader(file))
    assert [int(each["second"]) for each in node] == list(range(5, 1201, 5))
    ratios = [float(each["ratio"]) for each in node]
    assert (ratios[0], {each["target"] for each in node}) == (1.0, {"2"})
    assert 1.94 < ratios[-1] == pytest.approx(summary["ratio"], rel=1e-3)
    assert max(ratios) < 2.05
    reached = next(int(each["second"]) for each in node if each["pause"] == "reached")
    assert summary["reached_after_seconds"] == reached < 400
    # When the third pod has come, and when the second one's cold memory is used.
    assert ratios[80] < ratios[78] - 0.3
    assert ratios[166] < ratios[158] - 0.1
    assert summary["waited_seconds_before_change"] == 0
    changing = [each for each in pods if each["pod"] == "batch-2"]
    assert [len(changing), len(pods)] == [240, 2 * 240 + 160]
    back = {each["pause"] for each in changing[160:] if each["pause"] in ("felt", "stalled", "refaults")}
    assert back
    assert not {each["pause"] for each in changing[:160]} & {"felt", "stalled", "refaults"}
    assert float(changing[-1]["in_memory_mib"]) >= float(changing[-1]["uses_mib"]) == 176
    assert float(changing[-1]["waited_seconds"]) == pytest.approx(summary["waited_seconds"], abs=0.01)
    assert summary["waited_seconds"] > 1
    saved = sum(float(each["on_device_mib"]) for each in pods[-3:])
    assert (saved, float(node[-1]["saved_mib"])) == pytest.approx((summary["saved_mib"],) * 2, rel=1e-3)
    texts = {each.text or "" for each in ET.parse(tmp_path / "overcommit-pod.svg").iter(f"{SVG}text")}
    assert {f"paused: {each}" for each in back} == {each for each in texts if "paused" in each}
    assert run(*arguments) == 0
    assert "reached after seconds" in capsys.readouterr().out


def test_overcommit_with_the_agents_own_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another ratio, another way to find what is cold; and none at all."""
    file = tmp_path / "plimsoll.yaml"
    arguments = ["--overcommit", "--output", str(tmp_path), "--config", str(file), "--seconds", "600"]

    def figures(section: str) -> dict[str, float | None]:
        file.write_text(f"overcommit: {section}\n")
        assert run(*arguments, "--format", "json") == 0
        found: dict[str, float | None] = json.loads(capsys.readouterr().out)
        return found

    knowing, finding = (figures(f"{{ratio: 1.5, selector: {each}}}") for each in ("damon", "plain"))
    assert (knowing["target"], knowing["ratio"]) == pytest.approx((1.5, 1.5), abs=0.05)
    # It has to find out by trying.
    assert (knowing["waited_seconds_before_change"] or 0) < (finding["waited_seconds_before_change"] or 0)
    off = figures("{ratio: 1.0}")
    assert (off["reached_after_seconds"], off["saved_mib"], off["written_mib"]) == (None, 0, 0)
    assert run(*arguments) == 0
    assert re.search(r"^reached after seconds +never$", capsys.readouterr().out, re.MULTILINE)


def test_the_documents_pictures(tmp_path: Path) -> None:
    """Those of docs/policies are what the command draws without any other option."""
    assert run("--output", str(tmp_path)) == 0
    for name in ("power", "group"):
        assert (DOCS / f"policies/frequency-{name}.svg").read_text() == (tmp_path / f"{name}.svg").read_text()
    assert run("--overcommit", "--output", str(tmp_path)) == 0
    for name in ("overcommit", "overcommit-pod"):
        assert (DOCS / f"policies/{name}.svg").read_text() == (tmp_path / f"{name}.svg").read_text()


def test_the_agents_own_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--config takes the section frequency of the agent's file, whose mistakes are told as the agent tells them."""
    file = tmp_path / "plimsoll.yaml"
    file.write_text("frequency: {maxHighRatio: 0.25, lowGroupMaxMHz: 1000}\n")
    arguments = ["--output", str(tmp_path), "--config", str(file), "--cores", "16", "--packages", "1"]
    arguments += ["--seconds", "60", "--format", "json"]
    assert run(*arguments) == 0
    first = json.loads(capsys.readouterr().out)
    with (tmp_path / "group.csv").open() as written:
        sizes = [int(each["high_group_cpus"]) for each in csv.DictReader(written)]
    assert (first["low_group_max_mhz"], max(sizes[1:])) == (1000, 8)
    assert run(*arguments, "--low-group-max-mhz", "1200") == 0
    assert json.loads(capsys.readouterr().out)["low_group_max_mhz"] == 1200
    file.write_text("frequency: {maxHighRatio: 2}\n")
    with pytest.raises(ConfigError, match="maxHighRatio"):
        run(*arguments)


def test_a_chart_escapes_its_texts() -> None:
    """Whatever a label says, the picture stays one document."""
    chart = Chart("<&>", Axis('"', 0, 1), Axis("<b>", 0, 1), (0.0, 1.0), (Line("</svg>", (0.0, 1.0)),))
    assert [each.text for each in ET.fromstring(svg(chart)).iter(f"{SVG}title")] == ["<&>"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("coers: 4\n", "coers"),
        ("cores: many\n", "cores"),
        ("cores: 1\n", "cores"),
        ("baseMHz: 3600\n", ""),
        ("lowestVolts: 1.2\n", ""),
        ("- 1\n", ""),
        ("cores: [\n", ""),
    ],
)
def test_machines_that_cannot_be(tmp_path: Path, text: str, field: str) -> None:
    """Every mistake names the file, and the field where there is one."""
    file = tmp_path / "machine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_machine(str(file))
    (problem,) = caught.value.problems
    assert (problem.file, problem.field) == (str(file), field)


def test_an_option_that_cannot_be() -> None:
    """The same for a number given on the command line."""
    with pytest.raises(ConfigError) as caught:
        load_machine(None, cores=0)
    assert [each.field for each in caught.value.problems] == ["cores"]


@pytest.mark.parametrize(
    "section",
    [
        {"shrinkBelow": 0.7},
        {"targetUtilization": 0.8, "shrinkBelow": 0.5},
        {"window": "2h"},
        {"lowGroupMaxMHz": "fast"},
        {"lowGroupMaxMHz": 50},
        {"minLowUnits": 0},
        {"normalPods": "high"},
        {"growthFactor": 1},
    ],
)
def test_sections_that_cannot_be(section: dict[str, object]) -> None:
    """Thresholds in order, and every number within what makes sense."""
    with pytest.raises(ValidationError):
        FrequencySection.model_validate(section)


def test_the_shortest_section() -> None:
    """mode: enforce alone is a whole configuration; a bare YAML off is off."""
    assert FrequencySection.model_validate({"mode": "enforce"}).mode == "enforce"
    assert FrequencySection.model_validate({"mode": False, "turboFrequency": False}).turbo_frequency == "off"
    assert FrequencySection.model_validate({"window": "1m30s"}).window == 90.0


def test_a_line_has_a_gap_where_nothing_is_known() -> None:
    """The pen is lifted, also at a line's begin; nothing is drawn at 0."""
    line = Line("a", (None, 1.0, 0.5, None, 1.0))
    chart = Chart("t", Axis("x", 0, 4), Axis("y", 0, 1), (0.0, 1.0, 2.0, 3.0, 4.0), (line,))
    path = next(each for each in ET.fromstring(svg(chart)).findall(f"{SVG}path") if each.get("stroke-width") == "2")
    assert re.sub(r"[\d. ]+", "", path.get("d", "")) == "MLM"


def test_a_long_legend_goes_on_below() -> None:
    """No name of it is outside the picture."""
    lines = [Line("a name of some length " + str(number), (0.0,)) for number in range(6)]
    chart = Chart("t", Axis("x", 0, 1), Axis("y", 0, 1), (0.0,), lines)
    names = [each for each in ET.fromstring(svg(chart)).findall(f"{SVG}text") if (each.text or "").startswith("a name")]
    assert len(names) == 6
    assert all(int(each.get("x", "0")) + 7 * len(each.text or "") <= 900 for each in names)
    assert len({each.get("y") for each in names}) == 2
