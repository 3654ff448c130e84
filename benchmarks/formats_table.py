"""The formats of other programs that are read: who wrote what was tried, and whether all came out bit for bit.

Usage: python benchmarks/formats_table.py [--name formats_read]

Runs the tests of each format, which compare cameras, states, actions, success and rewards with the writer's arrays as
the columns say, and keeps one row per format. Files that the programs themselves wrote lie in tests/data/formats; the
rest was written in environments of their own, or with h5py and NumPy in the published layout.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from provenance import keep, provenance

COLUMNS = ("format", "writer", "tried", "cameras", "states", "actions", "success", "rewards", "tests")
ROWS = """
LeRobot v2.1 | lerobot 0.3.3 | golden file | equal; video: decoder's | equal | equal | assumed | derived | lerobot_versions
LeRobot v2.0 | lerobot at aca464ca7 | golden file | equal; video: decoder's | equal | equal | assumed | derived | lerobot_versions
LeRobot v3 | lerobot 0.4.4, and our writer | by hand; ours in tests | equal; video: decoder's | equal | equal | next.success | equal | lerobot
robomimic | robosuite 1.5.2, robomimic 0.3.0 | by hand; layout in tests | equal | equal | equal | attribute, or rewards | equal | robomimic
LIBERO | h5py, published layout | tests | equal | equal | equal | rewards | equal | hdf5
IsaacLab, IsaacLab Mimic | h5py, published layout | tests | equal | equal | equal | attribute | derived | hdf5
ALOHA, ACT | OpenCV 5.0.0 and h5py | golden file | equal; JPEG: OpenCV's | equal | equal | assumed | derived | hdf5
ManiSkill | h5py and json, published layout | tests | equal | equal | equal | its JSON file, or flags | equal | hdf5
diffusion-policy zarr | zarr 2.18.7 and 3.1.6 | golden files | equal | equal | equal | assumed | equal | flat
D4RL | h5py, published layout | tests | none | equal | equal | rewards, or assumed | equal | flat
OGBench | numpy.savez; equal to ogbench 1.2.2's loader | by hand; tests | equal | equal | equal | assumed | derived | flat
Minari HDF5 | Minari 0.5.4 | tests | equal | equal | equal | infos, or rewards | equal | minari
Minari Arrow | Minari 0.5.4 | golden file | JPEG: Minari's | equal | equal | infos, or rewards | equal | minari
NumPy | numpy.savez | tests | equal | equal | equal | flag, or assumed | equal, or derived | npz
"""  # noqa: E501
"""What the tests compare bit for bit with the writer's arrays is "equal"; of success, what is believed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="")
    options = parser.parse_args()
    cells = [[cell.strip() for cell in line.split("|")] for line in ROWS.strip().splitlines()]
    outcome = {name: run(f"tests/test_formats_{name}.py") for name in dict.fromkeys(row[-1] for row in cells)}
    rows = [{**dict(zip(COLUMNS, row, strict=True)), **outcome[row[-1]]} for row in cells]
    for row in rows:
        print(row)
    if options.name:
        keep({"name": options.name, **provenance(["python", "benchmarks/formats_table.py"]), "formats": rows})


def run(tests: str) -> dict[str, Any]:
    """How many of them pass."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    last = done.stdout.strip().splitlines()[-1]
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|skipped)", last)}
    return {"passed": counts.get("passed", 0), "failed": counts.get("failed", 0), "skipped": counts.get("skipped", 0)}


if __name__ == "__main__":
    main()
