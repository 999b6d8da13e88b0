"""The configuration file: whole or not at all, with an answer for every mistake."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.config.duration import parse_duration
from plimsoll.config.loader import ConfigFile, Loaded, Refused, load_config, parse_config
from plimsoll.config.problem import ConfigError
from plimsoll.config.schema import Config, json_schema
from plimsoll.config.yaml_text import load

SHIPPED = Path(__file__).parents[2] / "config"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "f.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_the_shipped_file_is_the_defaults():
    """config/plimsoll.yaml names every key and changes nothing."""
    shipped = load_config(str(SHIPPED / "plimsoll.yaml"))

    assert shipped == Config()
    named = load((SHIPPED / "plimsoll.yaml").read_text(), file="f").data
    assert named.keys() == Config().model_dump(by_alias=True).keys()
    for section, values in Config().model_dump(by_alias=True).items():
        assert named[section].keys() == values.keys(), section


def test_the_shipped_schema_is_in_step():
    """config/schema.json is what the code says; `python -m plimsoll.config.schema` writes it."""
    assert json.loads((SHIPPED / "schema.json").read_text()) == json_schema()


def test_every_mistake_is_told_at_once_with_its_line_and_cure():
    """F34: the golden texts."""
    text = (
        "log:\n  levl: debug\npressure:\n  interval: 90s\n  containers: 'yes'\n  windows: [10s, 7s]\n"
        "priority:\n  namespaces: {batch: hihg}\nhttp: {listen: 5}\nspeed: fast\n"
    )

    assert problems(text) == [
        "f.yaml:2: log.levl: there is no such key, did you mean level?",
        "f.yaml:4: pressure.interval: 90.0 is out of range, use at most 60.0",
        "f.yaml:5: pressure.containers: 'yes' has the wrong type, give true or false",
        "f.yaml:6: pressure.windows.1: '7s' is not one of the values it takes, use one of: '10s', '60s' or '300s'",
        (
            "f.yaml:8: priority.namespaces.batch: 'hihg' is not one of the values it takes, "
            "use one of: 'high', 'normal' or 'low'"
        ),
        "f.yaml:9: http.listen: 5 has the wrong type, give text (in quotes)",
        (
            "f.yaml:10: speed: there is no such key, use one of: "
            "eviction, frequency, http, ioLimit, log, notices, overcommit, preemption, pressure, priority"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("log: {level: info}\nlog: {level: debug}\n", "f.yaml:2: the key 'log' stands twice (first on line 1)"),
        ("pressure: [", "not YAML"),
        ("a: \x00", "a character YAML does not allow"),
        ("- 1", "the file is not a mapping"),
        ("a: &r [*r]", "the aliases nest deeper"),
        ("a: !!python/object:os.system x", "is not supported"),
        ("? [x]\n: 1", "a key is a list"),
        ("a: 1\n---\nb: 1\n", "a second document"),
        ("a: " + "[" * 40 + "]" * 40, "nested deeper than 32"),
        ("a: " + "x" * (1 << 20), "larger than 1 MiB"),
        ("pressure: {interval: soon}", "not a duration"),
        ("pressure: {interval: .nan}", "f.yaml:1: pressure.interval"),
        ("pressure: {max_series: 1000}", "no such key, did you mean maxSeries?"),
    ],
)
def test_what_is_refused(text, part):
    """Duplicate keys, torn and hostile YAML, snake case."""
    assert part in problems(text)[0]


def test_a_billion_laughs_are_refused_before_they_are_told():
    """Nine levels of nine aliases would be 387 million values."""
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]

    assert "expand to more than" in problems("\n".join(lines))[0]


@pytest.mark.parametrize(
    ("text", "expected"), [("500ms", 0.5), ("5s", 5.0), ("1m30s", 90.0), ("2h", 7200.0), ("1.5s", 1.5), (3, 3.0)]
)
def test_durations(text, expected):
    """The spellings of the documentation."""
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1s5m", True, None, []])
def test_what_is_no_duration(text):
    """A bare number in quotes has no unit; order matters."""
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@given(st.text(max_size=200))
def test_no_text_raises_anything_but_config_error(text):
    """Any text is a configuration or a list of problems."""
    with suppress(ConfigError):
        assert isinstance(parse_config(text, "f"), Config)


def test_a_file_is_followed_by_content(tmp_path):
    """A ConfigMap volume: the link is swapped; the same bytes are no change; what vanishes is told once."""
    for version, text in (("one", "log: {level: debug}\n"), ("two", "log: {level: error}\n"), ("bad", "log: 5\n")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "plimsoll.yaml").write_text(text)
    data = tmp_path / "..data"
    data.symlink_to("one")
    file = ConfigFile(str(data / "plimsoll.yaml"))
    assert file.config.log.level == "debug"
    assert file.poll() is None

    def swap(version):
        (tmp_path / "next").symlink_to(version)
        (tmp_path / "next").rename(data)
        return file.poll()

    loaded = swap("two")
    assert isinstance(loaded, Loaded)
    assert loaded.config.log.level == "error"
    refused = swap("bad")
    assert isinstance(refused, Refused)
    assert file.poll() is None
    assert file.config.log.level == "error"
    data.unlink()
    assert isinstance(file.poll(), Refused)
    assert file.poll() is None
    data.symlink_to("one")
    assert isinstance(file.poll(), Loaded)


def test_a_file_that_is_being_written_in_its_place_turns_nothing_off(tmp_path):
    """Found empty once, what was said before holds; found empty again, everything is at its default."""
    path = tmp_path / "plimsoll.yaml"
    path.write_text("preemption: {mode: enforce}\n")
    file = ConfigFile(str(path))
    path.write_text("")
    assert file.poll() is None
    path.write_text("preemption: {mode: observe}\n")
    loaded = file.poll()
    assert isinstance(loaded, Loaded)
    assert loaded.config.preemption.mode == "observe"

    path.write_text("\n")
    assert file.poll() is None
    loaded = file.poll()
    assert isinstance(loaded, Loaded)
    assert loaded.config == Config()
    assert file.poll() is None
