"""The files of a foreign LeRobot data set, opened within limits: its tables, and the paths that it names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from zoomrl.demos.formats.lerobot import layout
from zoomrl.demos.store.limits import NUMBERS, Budget, regular

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
        budget: what its rows and images may ask for.
        ratio: believed of the tables: more where they hold images.
    """

    def __init__(self, root: Path, budget: Budget, ratio: float = NUMBERS) -> None:
        self._root, self._budget, self._ratio = root, budget, ratio
        self._columns = Budget()
        """Of what the columns declare: pages of them are unpacked before their rows are seen."""

    def open(self, path: Path) -> Any:
        """The table at ``path``, a ``pyarrow.parquet.ParquetFile``.

        Raises:
            ValueError: it is no file of the data set, or declares more rows or bytes than it can hold. Any error of
                pyarrow for a damaged file.
        """
        size = regular(path, self._root).stat().st_size
        self._budget.file(path, self._ratio)
        table = layout.parquet().ParquetFile(path, page_checksum_verification=True)
        groups = [table.metadata.row_group(index) for index in range(table.num_row_groups)]
        rows, stored = sum(group.num_rows for group in groups), 0
        # The columns with the numbers of a frame differ in every row, and take a byte each at least.
        if rows > size:
            raise ValueError(f"it declares {rows:,} rows in {size:,} bytes")
        for place, group in enumerate(groups):
            for index in range(group.num_columns):
                column = group.column(index)
                stored += column.total_compressed_size
                declared = max(column.total_uncompressed_size, column.num_values * _WIDTH.get(column.physical_type, 1))
                what, part = f"column {column.path_in_schema}", f"{path.name}, {place}"
                self._columns.add(what, declared, column.total_compressed_size, part=part)
        self._columns.check()
        if stored > size:
            raise ValueError(f"its columns hold {stored:,} bytes, more than the {size:,} of the file: they overlap")
        return table

    def read(self, table: Any, columns: list[str], groups: list[int] | None = None, episode: int | None = None) -> Any:
        """The ``columns`` of an open ``table`` as a ``pyarrow.Table``.

        Read in small batches, of which the rows wanted are kept: a text that is stored once may stand in every row.

        Args:
            table: of :meth:`open`.
            columns: to read; ``episode_index`` among them where an episode is asked for.
            groups: row groups to read; all by default.
            episode: keep its rows alone.

        Raises:
            ValueError: they need more memory than the files of the data set can hold.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        groups = list(range(table.num_row_groups)) if groups is None else groups
        batches = []
        for group in groups:
            found = table.metadata.row_group(group)
            # Of numbers there are no more than the columns declare; a text may stand in every row.
            texts = [
                column.total_uncompressed_size
                for column in map(found.column, range(found.num_columns))
                if column.physical_type not in _WIDTH and column.path_in_schema.partition(".")[0] in columns
            ]
            size = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max([1, *texts])))
            for batch in table.iter_batches(batch_size=size, row_groups=[group], columns=columns, use_threads=False):
                kept = batch if episode is None else batch.filter(pc.equal(batch["episode_index"], episode))
                if not len(kept):
                    continue
                arrays = [_plain(column) for column in kept.columns]
                self._budget.add("a table", sum(array.nbytes for array in arrays), 0, part=str(episode))
                self._budget.check()
                batches.append(pa.RecordBatch.from_arrays(arrays, batch.schema.names))
        schema = batches[0].schema if batches else pa.schema([table.schema_arrow.field(name) for name in columns])
        return pa.Table.from_batches(batches, schema)


def _plain(column: Any) -> Any:
    """``column`` with each of its values in full."""
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


_BATCH_ROWS, _BATCH_BYTES = 4096, 16 << 20
_WIDTH = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a value in memory, by its physical type."""
