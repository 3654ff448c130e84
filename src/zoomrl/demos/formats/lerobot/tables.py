"""The tables of a LeRobot data set, written with pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoomrl.demos.formats.images import encode
from zoomrl.demos.formats.lerobot import layout

FILE_BYTES = 100 * 2**20
"""Size after which a new file of data is begun."""


class Tables:
    """The files of ``data/``: one row group per episode, so that damage to one spares the others."""

    def __init__(self, root: Path, features: dict[str, Any]) -> None:
        self._root = root
        self._schema = _schema({key: f for key, f in features.items() if f["dtype"] != "video"})
        self._number = -1
        self._writer: Any = None

    def add(self, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
        import pyarrow as pa

        if self._writer is None or self._path().stat().st_size > FILE_BYTES:
            self.close()
            self._number += 1
            self._path().parent.mkdir(parents=True, exist_ok=True)
            self._writer = layout.parquet().ParquetWriter(
                self._path(), self._schema, compression="snappy", write_page_checksum=True
            )
        columns = [_column(arrays[field.name], field.type) for field in self._schema]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        chunk, file = divmod(self._number, layout.FILES_PER_CHUNK)
        return {"data/chunk_index": chunk, "data/file_index": file}

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _path(self) -> Path:
        chunk, file = divmod(self._number, layout.FILES_PER_CHUNK)
        return self._root / layout.DATA.format(chunk_index=chunk, file_index=file)


@contextmanager
def open_tables(root: Path, features: dict[str, Any]) -> Iterator[Tables]:
    tables = Tables(root, features)
    try:
        yield tables
    finally:
        tables.close()


def _schema(features: dict[str, Any]) -> Any:
    import pyarrow as pa

    kinds = {"float32": pa.float32(), "int64": pa.int64(), "bool": pa.bool_()}
    fields = []
    for key, feature in features.items():
        if feature["dtype"] == "image":
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        else:
            # LeRobot stores vectors of one entry as plain numbers.
            length, entry = feature["shape"][0], kinds[feature["dtype"]]
            kind = entry if length == 1 else pa.list_(entry, length)
        fields.append(pa.field(key, kind))
    return pa.schema(fields)


def _column(array: NDArray[Any], kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return pa.array([{"bytes": encode(image), "path": None} for image in array], kind)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(array), kind.value_type), kind.list_size)
    return pa.array(np.ravel(array), kind)


def table_of(rows: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(rows)


def task_table(tasks: list[str]) -> Any:
    """The tasks by their numbers, as pandas writes them: their texts are the index of the table."""
    import pyarrow as pa

    numbers = pa.array(range(len(tasks)), pa.int64())
    table = pa.table({"task_index": numbers, "__index_level_0__": pa.array(tasks, pa.string())})
    kinds = [("task_index", "int64", "int64"), (None, "unicode", "object")]
    columns = [
        {"name": name, "field_name": name or "__index_level_0__", "pandas_type": kind, "numpy_type": numpy}
        | {"metadata": None}
        for name, kind, numpy in kinds
    ]
    about = {"index_columns": ["__index_level_0__"], "column_indexes": [], "columns": columns}
    return table.replace_schema_metadata({b"pandas": json.dumps({**about, "pandas_version": "2.3.3"}).encode()})


def save_table(path: Path, table: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    layout.parquet().write_table(table, path, compression="snappy", write_page_checksum=True)
