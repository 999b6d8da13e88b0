"""One line for each register's value: exact both ways, one spelling for one value, and nothing else taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.kernel.isst import mailbox_words, spelling
from plimsoll.kernel.isst.state import ClosParam, CorePower


@given(st.integers(0, 0xFFFF_FFFF))
def test_every_register_of_a_class_round_trips_bit_by_bit(word: int) -> None:
    """All 2**32 words of the mailbox generation: register, text, register."""
    text = spelling.format_param(mailbox_words.param_of(word))
    assert text.isascii()
    assert mailbox_words.param_word(spelling.parse_param(text, mailbox=True)) == word


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (0x0000_0000, "prio=0 min=0 max=0 epp=0 desired=0"),
        (0x00FF_0000, "prio=0 min=0 max=none epp=0 desired=0"),
        (0x1714_08FA, "prio=15 min=800 max=2000 epp=10 desired=2300"),
        (0xFFFF_FFFF, "prio=15 min=25500 max=none epp=15 desired=25500"),
    ],
)
def test_the_fields_of_a_class_are_where_the_register_has_them(word: int, text: str) -> None:
    """EPP 3:0, priority 7:4, minimum 15:8, maximum 23:16, desired 31:24, in MHz; all bits of the maximum: none."""
    assert spelling.format_param(mailbox_words.param_of(word)) == text


@given(
    st.builds(
        ClosParam,
        priority=st.integers(0, 15),
        epp=st.none(),
        desired=st.none(),
        minimum=st.integers(0, 255).map(lambda ratio: 100 * ratio),
        maximum=st.none() | st.integers(0, 254).map(lambda ratio: 100 * ratio),
    )
)
def test_a_class_of_the_tpmi_generation_round_trips(param: ClosParam) -> None:
    """It has neither EPP nor a desired frequency."""
    assert spelling.parse_param(spelling.format_param(param), mailbox=False) == param


def test_the_highest_ratio_is_no_limit() -> None:
    """25,500 MHz is what the register has for none: both spellings are one value, which is spelled ``none``."""
    param = spelling.parse_param("prio=0 min=0 max=25500", mailbox=False)
    assert param.maximum is None
    assert spelling.format_param(param) == "prio=0 min=0 max=none"


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("", False),
        ("prio=16 min=0 max=none", False),
        ("prio=0 min=25501 max=none", False),
        ("prio=0 min=0 max=25600", False),
        ("prio=0 min=0 max=none epp=0 desired=0", False),
        ("prio=0 min=0 max=none", True),
        ("prio=0 min=0 max=none epp=16 desired=0", True),
        ("prio=0 min=0 max=none epp=0 desired=99999", True),
        ("prio=-1 min=0 max=none", False),
        ("prio=0 min=0 max=none ", False),
        ("prio=0  min=0 max=none", False),
        ("prio=0 min=0 max=none\n", False),
        ("prio=\u0663 min=0 max=none", False),
    ],
)
def test_what_is_no_class_of_this_generation_is_refused(text: str, mailbox: bool) -> None:
    """Out of range, with fields the generation lacks, without those it has, or spelled in another way."""
    with pytest.raises(ValueError, match="class of service"):
        spelling.parse_param(text, mailbox=mailbox)


@given(st.booleans(), st.booleans(), st.booleans())
def test_every_state_of_core_power_has_one_spelling(enabled: bool, ordered: bool, heeded: bool) -> None:
    """All eight states of the three switches round trip; the plain words stand for switches that agree."""
    state = CorePower(supported=True, enabled=enabled, ordered=ordered, heeded=heeded)
    text = spelling.format_core_power(state)
    assert spelling.parse_core_power(text, mailbox=True) == state
    plain = heeded == enabled and (enabled or not ordered)
    assert (text in ("off", "proportional", "ordered")) is plain


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("", True),
        ("on", True),
        ("ordered type=ordered", True),
        ("off clos=off", True),
        ("ordered clos=on", True),
        ("off type=proportional", True),
        ("off clos=on type=ordered", True),
        ("ordered clos=off", False),
        ("off clos=on", False),
    ],
)
def test_what_is_no_state_of_core_power_is_refused(text: str, mailbox: bool) -> None:
    """Second spellings of a state are none, and the second switch exists in the mailbox generation only."""
    with pytest.raises(ValueError, match="core-power"):
        spelling.parse_core_power(text, mailbox=mailbox)


@given(st.integers(0, 2**64 - 1))
def test_a_64_bit_register_round_trips(word: int) -> None:
    """Sixteen digits, always."""
    text = spelling.format_limits(word)
    assert len(text) == 16
    assert spelling.parse_limits(text) == word


def test_classes_switches_and_registers_are_spelled_one_way() -> None:
    """``0``..``3``, ``on``/``off``, 16 lower-case digits: everything near them is refused."""
    assert [spelling.parse_class(text) for text in "0123"] == [0, 1, 2, 3]
    assert [spelling.parse_switch(spelling.format_switch(each)) for each in (True, False)] == [True, False]
    for text in ("4", "-1", "", " 1", "01", "clos=3"):
        with pytest.raises(ValueError, match="class of service"):
            spelling.parse_class(text)
    for text in ("On", "1", ""):
        with pytest.raises(ValueError, match="neither on nor off"):
            spelling.parse_switch(text)
    for text in ("ff", "0" * 15 + "G", "0" * 17, "F" * 16):
        with pytest.raises(ValueError, match="64-bit"):
            spelling.parse_limits(text)


@given(st.dictionaries(st.integers(0, 7), st.sampled_from(["ordered", "off", "off type=ordered clos=on"]), min_size=1))
def test_a_package_round_trips_whether_its_domains_agree_or_not(texts: dict[int, str]) -> None:
    """One text where all are the same, else each with its number."""
    text = spelling.format_domains(texts)
    assert spelling.parse_domains(text, frozenset(texts)) == texts
    assert (": " in text) is (len(set(texts.values())) > 1)


@pytest.mark.parametrize(
    "text", ["0: on", "0: on, 1: off, 2: on", "0: on, 0: off", "0: on, off", "0: on,1: off", ": on"]
)
def test_a_list_of_other_domains_is_refused(text: str) -> None:
    """Missing, unknown and double numbers, and entries without one."""
    with pytest.raises(ValueError, match="power domains"):
        spelling.parse_domains(text, frozenset({0, 1}))
