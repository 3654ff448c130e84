"""What format lies at a path, by its content: formats that are read, and those that another program must convert."""

from __future__ import annotations

import zipfile
from itertools import islice
from pathlib import Path

from zoomrl.demos.formats.kinds import Array, listing
from zoomrl.demos.store.limits import is_pointer, regular
from zoomrl.errors import ConfigError, DemonstrationError

READ = (
    "robomimic",
    "lerobot",
    "minari",
    "npz",
    "aloha",
    "maniskill",
    "zarr",
    "d4rl",
    "ogbench",
    "bigym",
    "rlbench",
)
"""Formats that are recognised and read."""

_HDF5, _ZIP, _PARQUET = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"PAR1"
_LOOKED_AT, _NAMED = 20_000, 20
_NUMPY = (
    "write each episode with numpy.savez as episode_0.npz, episode_1.npz ... (format npz), or the whole as a LeRobot "
    "data set"
)
_RLDS = (
    "a data set of TensorFlow (RLDS, TFDS), whose records are not read. Open it with tensorflow_datasets "
    f"(tfds.builder_from_directory(FOLDER).as_dataset()) and {_NUMPY}"
)
_ROSBAG = f"a bag of ROS, which is not read. Read its topics with the package rosbags (AnyReader), and {_NUMPY}"
_MCAP = f"an MCAP recording, which is not read. Read its messages with the package mcap, or rosbags, and {_NUMPY}"
_MAGIC = (
    (b"\x89MCAP0\r\n", _MCAP),
    (b"#ROSBAG", _ROSBAG),
    (b"SQLite format 3\x00", f"a database of SQLite, such as a bag of ROS 2, which is not read. {_ROSBAG}"),
    (_PARQUET, "a table of a LeRobot data set or another: name the folder of the data set"),
)
_CONVERTED = (
    ("**/features.json", _RLDS),
    ("**/*.tfrecord*", _RLDS),
    ("**/*.mcap", _MCAP),
    ("**/*.db3", _ROSBAG),
    ("**/*.bag", _ROSBAG),
)
_FOLDERS = (
    ("lerobot", "meta/info.json"),
    ("lerobot", "meta_data/info.json"),
    ("minari", "data/main_data.hdf5"),
    ("minari", "main_data.hdf5"),
    ("minari", "data/*/*.arrow"),
    ("minari", "data/*/*.parquet"),
    ("minari", "*/part-0.arrow"),
    ("npz", "episode_*.npz"),
    ("zarr", ".zgroup"),
    ("zarr", "zarr.json"),
    ("zarr", "data/.zgroup"),
    ("rlbench", "**/low_dim_obs.pkl"),
    ("bigym", "**/*.safetensors"),
)


def detect(path: str | Path) -> str:
    """The format that what lies at ``path`` has.

    Raises:
        ConfigError: it has none that is read; says what it is and what converts it, or what is there.
        DemonstrationError: there is nothing, or what is there was not downloaded.
    """
    root = Path(path)
    if not root.exists():
        raise DemonstrationError(f"there is nothing at {root}")
    found = _folder(root) if root.is_dir() else _file(root)
    if found is None:
        raise ConfigError(f"cannot tell what format {root} has; name it: {', '.join(READ)}. It holds {contents(root)}")
    return found


def contents(path: Path) -> str:
    """What is there, in words: the arrays of a file, or the files of a folder."""
    if path.is_dir():
        files = [file.relative_to(path).as_posix() for file in islice(path.rglob("*"), _LOOKED_AT) if file.is_file()]
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        return f"the files {', '.join(sorted(files)[:_NAMED])}{more}" if files else "no files"
    for read in (_hdf5_arrays, _npz_arrays, _zarr_arrays):
        try:
            if arrays := read(path):
                return listing(arrays)
        except Exception:  # a file of another kind makes a parser fail in any way
            continue
    return f"{path.stat().st_size:,} bytes of an unknown kind"


# ---- files -----------------------------------------------------------------------------------------------------


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(64)


def _file(path: Path) -> str | None:
    try:
        head = _head(regular(path))
    except ValueError as error:
        raise DemonstrationError(str(error)) from error
    for magic, what in _MAGIC:
        if head.startswith(magic):
            raise ConfigError(f"{path} is {what}")
    if ".tfrecord" in path.name:
        raise ConfigError(f"{path} is a part of {_RLDS}")
    if head.startswith(_ZIP):
        return _archive(path)
    if path.suffix == ".safetensors":
        return "bigym"
    if head.startswith(_HDF5):
        return _hdf5(path)
    # One that was cut to nothing, or damaged, is named by the reader.
    return "robomimic" if path.suffix in (".hdf5", ".h5") else None


def _hdf5(path: Path) -> str | None:
    from zoomrl.demos.store.hdf5 import open_hdf5

    try:
        file, _, _ = open_hdf5(path, counted=False)
    except OSError:
        return "robomimic"  # says what is wrong with it
    with file:
        keys = set(file)
        if "observations" in keys and "action" in keys:
            return "aloha"
        if {"observations", "actions", "terminals"} <= keys:
            return "d4rl"
        if any(key.startswith("traj_") for key in keys):
            return "maniskill"
        if any(key.startswith("episode_") for key in keys):
            raise ConfigError(f"{path} is the file of arrays of a Minari data set: name its folder")
        try:
            return "robomimic" if "data" in keys and any(key.startswith("demo_") for key in file["data"]) else None
        except (KeyError, OSError, RuntimeError, TypeError):
            return "robomimic"


def _archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as file:
            names = set(file.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return "ogbench" if path.suffix == ".npz" else "zarr" if path.suffix == ".zip" else None
    if {".zgroup", "zarr.json"} & names:
        return "zarr"
    if {"observations.npy", "actions.npy", "terminals.npy"} <= names:
        return "ogbench"
    if "actions.npy" in names:
        raise ConfigError(f"{path} is an episode of the format npz: name the folder of episode_0.npz and the others")
    return None


def _hdf5_arrays(path: Path) -> dict[str, Array]:
    from zoomrl.demos.formats.hdf5.groups import arrays_of
    from zoomrl.demos.store.hdf5 import open_hdf5

    file, _, _ = open_hdf5(path, counted=False)
    with file:
        return arrays_of(file)


def _npz_arrays(path: Path) -> dict[str, Array]:
    from zoomrl.demos.formats.npz.file import declared_arrays

    return {name: Array(dtype, shape) for name, (shape, dtype) in declared_arrays(path).items()}


def _zarr_arrays(path: Path) -> dict[str, Array]:
    from zoomrl.demos.formats.flat.zarr_array import Store, arrays_in

    with Store(path) as store:
        return {name: Array(array.dtype, array.shape) for name, array in arrays_in(store)[0].items()}


# ---- folders ---------------------------------------------------------------------------------------------------


def _folder(root: Path) -> str | None:
    for name, pattern in _FOLDERS:
        if next(root.glob(pattern), None):
            return name
    for pattern, what in _CONVERTED:
        if found := next(root.glob(pattern), None):
            raise ConfigError(f"{root} holds {found.relative_to(root)}: it is {what}")
    return _of_first(root)


def _of_first(root: Path) -> str | None:
    """By its first HDF5 file, where it is a folder of such."""
    from zoomrl.demos.formats.hdf5.groups import files_at

    try:
        files = files_at(root)
    except DemonstrationError:
        files = [file for file in islice(root.rglob("*"), _LOOKED_AT) if file.is_file() and is_pointer(file)]
    if not files:
        return None
    first = next((file for file in files if file.is_file() and not is_pointer(file)), files[0])
    found = _file(first)
    if found == "d4rl":
        raise ConfigError(f"{root} holds files of D4RL: name one, such as {first.name}")
    return found
