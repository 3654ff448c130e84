"""HTML in which everything is escaped that was not made here: names and texts of a set may come from a stranger."""

from __future__ import annotations

import html
import json
import unicodedata
from typing import Any

_LONGEST = 2000
"""Characters of one text that are shown."""


class Html(str):
    """Text that is HTML already. Any other text is escaped where it is put into a page."""

    __slots__ = ()


def escaped(text: object) -> Html:
    """``text`` as HTML that shows it, cut where it is very long; what is HTML already is left as it is."""
    return text if isinstance(text, Html) else Html(html.escape(plain(text)))


def element(name: str, *children: object, **attributes: object) -> Html:
    """One element. ``class_`` stands for ``class``, ``data_x`` for ``data-x``; None and False leave an attribute out.

    Args:
        name: of the element, as are the attributes' names: written here, never by a set.
        children: escaped unless they are :class:`Html`.
        attributes: escaped always.
    """
    words = [name]
    for key, value in attributes.items():
        if value is not None and value is not False:
            key = key.rstrip("_").replace("_", "-")
            text = value if value is True or isinstance(value, Html) else plain(value)
            words.append(key if value is True else f'{key}="{html.escape(str(text))}"')
    opening = f"<{' '.join(words)}>"
    if name in ("img", "input"):
        return Html(opening)
    return Html(f"{opening}{''.join(map(escaped, children))}</{name}>")


def plain(text: object) -> str:
    """``text`` without characters that cannot be seen, turn the direction of writing or are no text at all."""
    whole = str(text)
    short = whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]} … ({len(whole):,} characters)"
    return "".join(letter if _is_seen(letter) else "\ufffd" for letter in short)


def _is_seen(letter: str) -> bool:
    return letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) == "Zs"


def embedded(data: Any) -> Html:
    """``data`` as JSON that can stand in a ``script`` element, whatever texts it holds."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Html(text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"))
