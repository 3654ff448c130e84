"""Columns of lists in tables of pyarrow, of which arrays are made."""

from __future__ import annotations

from typing import Any


def check_even(column: Any) -> None:
    """ValueError where the lists of a ``column`` have several lengths: joined, their numbers would change rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        found = pc.min_max(pc.list_value_length(column)).as_py()
        if found["min"] != found["max"]:
            raise ValueError(f"its lists have {found['min']} to {found['max']} entries; rows must be alike")
