"""Where the parts of a demonstration set lie, and the names that we add to Minari's."""

from __future__ import annotations

from pathlib import Path

DATA_DIR = "data"
MAIN_FILE = "main_data.hdf5"
METADATA_FILE = "metadata.json"

MINARI_VERSION = "0.5.4"
"""The Minari version whose layout we write; its reader refuses versions that it does not know."""

SPEC_KEY = "zoomrl_spec"
META_KEY = "zoomrl_meta"
FILE_KEY = "zoomrl_main_data"
"""Size and hash of the file of arrays."""

COLLECT_HINT = "record a set with: zoomrl demos collect"


def data_dir(path: str | Path) -> Path:
    """The folder with the two files: ``path/data``, or ``path`` itself when the files lie there."""
    root = Path(path)
    return root if (root / METADATA_FILE).is_file() else root / DATA_DIR


def episode_key(index: int) -> str:
    """Name of the HDF5 group of episode ``index``."""
    return f"episode_{index}"
