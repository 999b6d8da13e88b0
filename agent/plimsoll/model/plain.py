"""
Values of the model as plain data (what JSON can say), and back: exact, and checked.

How each type is spelled follows from its type hints, so a new field needs no line here. This module must not know any
type of the model, and never makes anything but the types it was given, whatever the data says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping
from collections.abc import Set as AbstractSet
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from plimsoll.model.plain_leaf import SHOWN, Form, Unfit, is_enum, leaf, number, shown

T = TypeVar("T")


class PlainForm(Generic[T]):
    """
    The plain form of one type: a dataclass or NamedTuple made of bool, int, float, str, StrEnum, ``X | None``,
    ``tuple``, ``frozenset``, ``Mapping`` (keys: str, StrEnum, int) and more of its kind.

    Raises TypeError for a type with anything else in it.
    """

    def __init__(self, kind: type[T]) -> None:
        made = _Forms().of(kind)
        self._encode = made.encode
        self._decode = made.decode

    def encode(self, value: T) -> Any:
        """Dictionaries, lists and scalars. What JSON cannot say (a number that is not finite) is the caller's."""
        return value if self._encode is None else self._encode(value)

    def decode(self, plain: object) -> T:
        """
        The value. A missing field has its default; Unfit is raised for one without, for one there is none of, and for
        every value of another type than the field's.
        """
        made: T = self._decode(plain)
        return made


class _Forms:
    """Makes forms from type hints, each record's once."""

    def __init__(self) -> None:
        self._records: dict[type, Form] = {}

    def of(self, hint: Any) -> Form:
        form = leaf(hint)
        if form is not None:
            return form
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Union or origin is UnionType:
            return self._optional(hint, arguments)
        if origin is tuple and arguments:
            return self._sequence(arguments[0]) if arguments[-1] is Ellipsis else self._row(arguments)
        if origin is frozenset:
            return self._set(arguments[0])
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return self._mapping(*arguments)
        if dataclasses.is_dataclass(hint) or (isinstance(hint, type) and hasattr(hint, "_fields")):
            return self._record(hint)
        raise TypeError(f"{hint!r} has no plain form")

    def _optional(self, hint: Any, arguments: tuple[Any, ...]) -> Form:
        kinds = [each for each in arguments if each is not NoneType]
        if len(kinds) != 1 or len(arguments) != 2:
            raise TypeError(f"{hint!r} has no plain form: which of the types it is could not be told")
        encode, decode = self.of(kinds[0])
        return Form(
            None if encode is None else lambda value: None if value is None else encode(value),
            lambda plain: None if plain is None else decode(plain),
        )

    def _sequence(self, hint: Any) -> Form:
        encode, decode = self.of(hint)

        def read(plain: Any) -> tuple[Any, ...]:
            found: list[Any] = []
            values = _listed(plain)
            try:
                for each in values:
                    found.append(decode(each))  # noqa: PERF401 - how far it came names the place of an error
            except Unfit as error:
                raise error.within(f"[{len(found)}]") from None
            return tuple(found)

        return Form(list if encode is None else lambda value: [encode(each) for each in value], read)

    def _row(self, arguments: tuple[Any, ...]) -> Form:
        forms = [self.of(each) for each in arguments]
        encoders = [each.encode or _same for each in forms]

        def read(plain: Any) -> tuple[Any, ...]:
            if len(_listed(plain)) != len(forms):
                raise Unfit(f"has {len(plain)} values, not {len(forms)}")
            found = []
            for place, (form, each) in enumerate(zip(forms, plain, strict=True)):
                try:
                    found.append(form.decode(each))
                except Unfit as error:
                    raise error.within(f"[{place}]") from None
            return tuple(found)

        return Form(lambda value: [encode(each) for encode, each in zip(encoders, value, strict=True)], read)

    def _set(self, hint: Any) -> Form:
        if hint not in (int, str) and not is_enum(hint):
            raise TypeError(f"a set of {hint!r} has no plain form")
        members = self._sequence(hint)

        def read(plain: Any) -> frozenset[Any]:
            found = members.decode(plain)
            made = frozenset(found)
            if len(made) != len(found):
                raise Unfit("has a member twice")
            return made

        # A set has no order; files that are compared need one.
        return Form(sorted, read)

    def _mapping(self, key: Any, hint: Any) -> Form:
        if key not in (int, str) and not is_enum(key):
            raise TypeError(f"a mapping from {key!r} has no plain form")
        name = number if key is int else self.of(key).decode
        encode, decode = self.of(hint)
        spelled = str if key is int else _same
        written = encode or _same

        def read(plain: Any) -> dict[Any, Any]:
            if type(plain) is not dict:
                raise Unfit(f"is {shown(plain)}, not a mapping")
            found = {}
            for each, value in plain.items():
                try:
                    found[name(each)] = decode(value)
                except Unfit as error:
                    raise error.within(f"[{shown(each)}]") from None
            return found

        return Form(lambda value: {spelled(each): written(value[each]) for each in value}, read)

    def _record(self, kind: Any) -> Form:
        known = self._records.get(kind)
        if known is None:
            known = self._records[kind] = self._new_record(kind)
        return known

    def _new_record(self, kind: Any) -> Form:
        hints = get_type_hints(kind)
        if dataclasses.is_dataclass(kind):
            fields = [each for each in dataclasses.fields(kind) if each.init]
            names = tuple(each.name for each in fields)
            missing = dataclasses.MISSING
            needed = {each.name for each in fields if each.default is missing and each.default_factory is missing}
        else:
            names = kind._fields
            needed = set(names) - set(kind._field_defaults)
        forms = {name: self.of(hints[name]) for name in names}
        encoders = [(name, each.encode) for name, each in forms.items()]
        decoders = [each.decode for each in forms.values()]

        def write(value: Any) -> dict[str, Any]:
            return {
                name: getattr(value, name) if encode is None else encode(getattr(value, name))
                for name, encode in encoders
            }

        def read(plain: Any) -> Any:
            if type(plain) is not dict:
                raise Unfit(f"is {shown(plain)}, not a mapping")
            given = tuple(plain)
            if given != names:
                _check_names(given, forms, needed, kind.__name__)
            chosen = decoders if given == names else [forms[name].decode for name in given]
            found: list[Any] = []
            try:
                for decode, each in zip(chosen, plain.values(), strict=True):
                    # How far it came names the field of an error.
                    found.append(decode(each))
            except Unfit as error:
                raise error.within(given[len(found)]) from None
            return kind(*found) if given == names else kind(**dict(zip(given, found, strict=True)))

        return Form(write, read)


def _check_names(given: Iterable[str], known: Container[str], needed: AbstractSet[str], kind: str) -> None:
    for name in given:
        if name not in known:
            raise Unfit(f"is no field of {kind}").within(name[:SHOWN])
    lacking = needed - set(given)
    if lacking:
        raise Unfit(f"lacks {', '.join(sorted(lacking))}")


def _same(value: Any) -> Any:
    return value


def _listed(plain: Any) -> list[Any]:
    if type(plain) is list:
        return plain
    raise Unfit(f"is {shown(plain)}, not a list")
