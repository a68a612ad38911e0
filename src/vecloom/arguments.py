"""Checks of the public API's arguments: what is wrong is said by name, with the value and its position."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from typing import Any

from vecloom.errors import UsageError


def check_texts(name: str, values: Any) -> list[str]:
    """``values`` as a list of strings: of a list, a tuple, an array or a generator.

    Raises:
        UsageError: it is one string, no list, or an item is no string.
    """
    if isinstance(values, str):
        shown = repr(values) if len(values) <= 40 else "..."
        raise UsageError(f"{name} is one string; give a list of strings: {name}=[{shown}]")
    if not isinstance(values, Iterable) or isinstance(values, bytes | Mapping | Set):
        raise UsageError(f"{name} is {describe_value(values)}; give a list of strings")
    try:
        found = values if isinstance(values, list) else list(values)
    except TypeError:  # an array without dimensions
        raise UsageError(f"{name} is {describe_value(values)}; give a list of strings") from None
    for number, value in enumerate(found):
        if not isinstance(value, str):
            raise UsageError(f"{name}[{number}] is {describe_value(value)}; give a list of strings")
    return found


def check_text(name: str, value: Any) -> str:
    """Return ``value``.

    Raises:
        UsageError: it is no string.
    """
    if not isinstance(value, str):
        raise UsageError(f"{name} is {describe_value(value)}; give a string")
    return value


def check_path(name: str, value: Any) -> str | os.PathLike[str]:
    """Return ``value``.

    Raises:
        UsageError: it is no path: a string, or an object such as ``pathlib.Path``.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise UsageError(f"{name} is {describe_value(value)}; give a path")
    if "\0" in os.fspath(value):
        raise UsageError(f"{name} is {value!r:.60}; a path has no NUL")
    return value


def check_integer(name: str, value: Any) -> int:
    """``value`` as an int; NumPy's are taken.

    Raises:
        UsageError: it is something else, such as a string, a bool or a float.
    """
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise UsageError(f"{name} is {describe_value(value)}; give a whole number")
    try:
        return int(value.__index__())
    except TypeError:  # an array of several
        raise UsageError(f"{name} is {describe_value(value)}; give a whole number") from None


def check_number(name: str, value: Any) -> float:
    """``value`` as a float; NaN and infinity too.

    Raises:
        UsageError: it is something else, such as a string or a bool.
    """
    if isinstance(value, bool | str | bytes) or not hasattr(type(value), "__float__"):
        raise UsageError(f"{name} is {describe_value(value)}; give a number")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{name} is {describe_value(value)}; give a number") from None


def check_mapping(name: str, value: Any, example: str) -> Mapping[str, Any]:
    """``value``, which has strings as keys; None is an empty one.

    Raises:
        UsageError: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} is {describe_value(value)}; write {name}={example}")
    for key in value:
        if not isinstance(key, str):
            raise UsageError(f"{name} has the key {describe_value(key)}; write {name}={example}")
    return value


def describe_value(value: object) -> str:
    """A value for a message: ``None``, or its short form and its type, on one line."""
    if value is None:
        return "None"
    said = " ".join(repr(value).split())
    return f"{said if len(said) <= 40 else said[:39] + '…'} ({type(value).__name__})"
