"""A table per kind of row, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from zoomrl.training.rows import METRICS, read_rows

FOLDER = "csv"
"""Of a run."""


class CsvFiles:
    """Writes ``csv/KIND.csv``: a column per number, empty where a row has none.

    A resumed run writes them anew from ``metrics.jsonl``, which holds what the run counts.

    Args:
        directory: of the run.
    """

    name = "CSV"

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER
        self._folder.mkdir(exist_ok=True)
        for path in self._folder.glob("*.csv"):
            path.unlink()
        self._rows: dict[str, list[dict[str, float]]] = {}
        self._columns: dict[str, list[str]] = {}
        for row in read_rows(directory / METRICS):
            numbers = {k: _cell(v) for k, v in row.items() if isinstance(v, int | float)}
            self._rows.setdefault(row["kind"], []).append(numbers)
        for kind, rows in self._rows.items():
            self._columns[kind] = list(dict.fromkeys(name for row in rows for name in row))
            self._write(kind)

    def scalars(self, kind: str, values: Mapping[str, float], env_steps: int, updates: int) -> None:
        """Append a row; a number that no earlier row had makes a new column, and the file is written anew."""
        row = {name: _cell(value) for name, value in values.items()}
        self._rows.setdefault(kind, []).append(row)
        columns = self._columns.setdefault(kind, [])
        new = [name for name in row if name not in columns]
        if new:
            columns += new
            self._write(kind)
            return
        with open(self._path(kind), "a", newline="") as file:
            csv.DictWriter(file, columns).writerow(row)

    def close(self) -> None:
        """Every row is written already."""

    def _write(self, kind: str) -> None:
        with open(self._path(kind), "w", newline="") as file:
            writer = csv.DictWriter(file, self._columns[kind])
            writer.writeheader()
            writer.writerows(self._rows[kind])

    def _path(self, kind: str) -> Path:
        return self._folder / f"{kind}.csv"


def _cell(value: float) -> float:
    """A whole number without its decimal point."""
    return int(value) if float(value).is_integer() else value
