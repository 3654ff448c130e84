"""The files of a foreign LeRobot data set, opened within limits: its tables, and the paths that it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from zoomrl.demos.formats import lerobot_layout as layout
from zoomrl.demos.limits import FREE, Budget, regular

_FIELD = re.compile(r"\{(\w+)(?::0?(\d)d)?\}")
_MAX_TEMPLATE = 500


def filled(template: object, **values: int | str) -> str:
    """``template`` with its ``{name}`` and ``{name:03d}`` replaced by ``values``.

    Python's own ``format`` would also follow attributes, and pad to any width.

    Raises:
        ValueError: it is no text, too long, or names something else.
    """
    if not isinstance(template, str) or len(template) > _MAX_TEMPLATE:
        raise ValueError(f"a path in info.json must be a text of at most {_MAX_TEMPLATE} characters")
    rest = _FIELD.sub("", template)
    names = [name for name, _ in _FIELD.findall(template)]
    unknown = [name for name in names if name not in values]
    if unknown or "{" in rest or "}" in rest:
        raise ValueError(f"the path {template!r} in info.json may hold {', '.join(values)} in braces, and nothing else")
    return _FIELD.sub(lambda found: str(values[found[1]]).zfill(int(found[2] or 0)), template)


class Tables:
    """Reads the parquet tables of one data set.

    Args:
        root: of the data set.
        budget: what its tables and pictures may ask for.
    """

    def __init__(self, root: Path, budget: Budget) -> None:
        self._root, self._budget = root, budget

    def open(self, path: Path) -> Any:
        """The table at ``path``, a ``pyarrow.parquet.ParquetFile``.

        Raises:
            ValueError: it is no file of the data set, or declares more rows or bytes than it can hold. Any error of
                pyarrow for a damaged file.
        """
        size = regular(path, self._root).stat().st_size
        self._budget.file(path)
        table = layout.parquet().ParquetFile(path, page_checksum_verification=True)
        groups = [table.metadata.row_group(index) for index in range(table.num_row_groups)]
        rows, stored = sum(group.num_rows for group in groups), 0
        # The columns with the numbers of a frame differ in every row, and take a byte each at least.
        if rows > size:
            raise ValueError(f"it declares {rows:,} rows in {size:,} bytes")
        for group in groups:
            for index in range(group.num_columns):
                column = group.column(index)
                stored += column.total_compressed_size
                declared = max(column.total_uncompressed_size, column.num_values * _WIDTH.get(column.physical_type, 1))
                self._budget.array(f"column {column.path_in_schema}", declared, column.total_compressed_size)
        if stored > size:
            raise ValueError(f"its columns hold {stored:,} bytes, more than the {size:,} of the file: they overlap")
        return table

    def read(self, table: Any, columns: list[str], groups: list[int] | None = None) -> Any:
        """The ``columns`` of an open ``table`` as a ``pyarrow.Table``; of all row groups, or of ``groups``.

        Read in small batches: a text that is stored once may stand in every row.

        Raises:
            ValueError: they need more memory than the files of the data set can hold.
        """
        import pyarrow as pa

        groups = list(range(table.num_row_groups)) if groups is None else groups
        batches = []
        for group in groups:
            found = table.metadata.row_group(group)
            largest = max(
                (found.column(index).total_uncompressed_size for index in range(found.num_columns)), default=0
            )
            size = max(1, min(1024, FREE // max(1, largest)))
            for batch in table.iter_batches(batch_size=size, row_groups=[group], columns=columns, use_threads=False):
                arrays = [_plain(column) for column in batch.columns]
                self._budget.decoded("the rows of its tables", sum(array.nbytes for array in arrays))
                batches.append(pa.RecordBatch.from_arrays(arrays, batch.schema.names))
        schema = batches[0].schema if batches else pa.schema([table.schema_arrow.field(name) for name in columns])
        return pa.Table.from_batches(batches, schema)


def _plain(column: Any) -> Any:
    """``column`` with each of its values in full."""
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


_WIDTH = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a value in memory, by its physical type."""
