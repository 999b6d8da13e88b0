"""
What stands in a register of a package while it is being written: some of it as before, some of it as it will be.

One value of such a register is several commands: one for each power domain, and with the mailbox one for each of two
switches. Who is killed between two of them leaves a value that nobody wrote.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from plimsoll.kernel.isst import spelling

_ALL = ""


def mixed(found: str, values: Collection[str]) -> bool:
    """Whether each part of ``found`` is that of one of the ``values``: so it may have been left by who wrote those."""
    texts = {each: _by_domain(each) for each in (found, *values)}
    domains = frozenset(domain for text in texts.values() for domain in text if domain != _ALL) or {_ALL}
    return all(_one_of(_of(texts[found], each), [_of(texts[value], each) for value in values]) for each in domains)


def _by_domain(text: str) -> Mapping[str, str]:
    """The text of each power domain by its number, or of all by the empty one."""
    if ": " not in text:
        return {_ALL: text}
    parts = (part.partition(": ") for part in text.split(", "))
    return {domain: value for domain, _, value in parts}


def _of(text: Mapping[str, str], domain: str) -> str:
    return text.get(domain, text.get(_ALL, ""))


def _one_of(found: str, values: Collection[str]) -> bool:
    if found in values:
        return True
    columns = [_switches(each) for each in (found, *values)]
    if not columns[0]:
        return False
    known = [each for each in columns[1:] if each]
    return all(any(switch == each[index] for each in known) for index, switch in enumerate(columns[0]))


def _switches(text: str) -> tuple[bool, ...]:
    """The switches of a state of core-power; none for a text that is no such state."""
    try:
        state = spelling.parse_core_power(text, mailbox=True)
    except ValueError:
        return ()
    return state.enabled, state.ordered, state.heeded
