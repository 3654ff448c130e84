"""Descriptions of a config's fields in its docstring, so that ``help`` shows what stands below each field."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
from typing import Any, TypeVar

T = TypeVar("T", bound=type)


def with_field_docs(kind: T) -> T:
    """Let the docstring of the dataclass ``kind`` end with its fields: those of its own and what it inherits.

    The source is read when the docstring is, not when the class is made.
    """
    kind.__doc__ = _Docs(inspect.cleandoc(kind.__doc__ or ""))  # type: ignore[assignment]
    return kind


def field_docs(kind: type) -> dict[str, str]:
    """Description of each field of a dataclass, by name: the text that stands below it, on one line.

    Empty where the source is not at hand.
    """
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            texts |= _below(base)
    if not texts:
        return {}
    return {field.name: texts.get(field.name) or _of_group(kind, field) for field in dataclasses.fields(kind)}


def _of_group(kind: type, field: dataclasses.Field[Any]) -> str:
    """What the config is that a ``field`` of ``kind`` holds."""
    written_in = next(base for base in kind.__mro__ if field.name in vars(base).get("__annotations__", {}))
    held = getattr(sys.modules[written_in.__module__], str(field.type))
    about = (held.__doc__ or "").partition("\n")[0]
    return f"{about} (``{field.type}``)"


def _below(kind: type) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):
        return {}
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef)
    found = {}
    for field, after in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[field.target.id] = " ".join(str(after.value.value).split())
    return found


class _Docs:
    """A docstring that is written when it is read."""

    def __init__(self, about: str) -> None:
        self._about = about
        self._whole = ""

    def __get__(self, instance: object, kind: type) -> str:
        if not self._whole:
            fields = [f"    {name}: {text}" for name, text in field_docs(kind).items()]
            self._whole = "\n".join([self._about, "", "Attributes:", *fields]) if fields else self._about
        return self._whole
