"""The formats of other programs that are read: who wrote what was tried, and whether all came out bit for bit.

Usage: python benchmarks/formats_table.py [--name formats_read]

Runs the tests of each format, which compare cameras, states, actions, success and rewards with the writer's arrays, and
keeps one row per format. Files that the programs themselves wrote lie in tests/data/formats; the rest was written in
environments of their own, or with h5py and NumPy in the published layout, as the column says.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from provenance import keep, provenance

ROWS: list[tuple[str, str, str, str]] = [
    ("LeRobot v2.1", "lerobot 0.3.3", "golden file", "tests/test_formats_lerobot_versions.py"),
    ("LeRobot v2.0", "lerobot at aca464ca7", "golden file", "tests/test_formats_lerobot_versions.py"),
    ("LeRobot v3", "lerobot 0.4.4, and our writer", "by hand; ours in tests", "tests/test_formats_lerobot.py"),
    ("robomimic", "robosuite 1.5.2 and robomimic 0.3.0", "by hand; layout in tests", "tests/test_formats_robomimic.py"),
    ("LIBERO", "h5py, published layout", "tests", "tests/test_formats_hdf5.py"),
    ("IsaacLab, IsaacLab Mimic", "h5py, published layout", "tests", "tests/test_formats_hdf5.py"),
    ("ALOHA, ACT", "OpenCV 5.0.0 and h5py", "golden file", "tests/test_formats_hdf5.py"),
    ("ManiSkill", "h5py and json, published layout", "tests", "tests/test_formats_hdf5.py"),
    ("diffusion-policy zarr", "zarr 2.18.7 and 3.1.6", "golden files", "tests/test_formats_flat.py"),
    ("D4RL", "h5py, published layout", "tests", "tests/test_formats_flat.py"),
    ("OGBench", "numpy.savez; equal to ogbench 1.2.2's loader", "by hand; tests", "tests/test_formats_flat.py"),
    ("Minari HDF5", "Minari 0.5.4", "tests", "tests/test_formats_minari.py"),
    ("Minari Arrow", "Minari 0.5.4", "golden file", "tests/test_formats_minari.py"),
    ("NumPy", "numpy.savez", "tests", "tests/test_formats_npz.py"),
]
"""Format, writer, how it was tried, tests."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="")
    options = parser.parse_args()
    outcome = {tests: run(tests.split()) for tests in dict.fromkeys(row[3] for row in ROWS)}
    rows = [
        {"format": format, "writer": writer, "tried": tried, "tests": tests, **outcome[tests]}
        for format, writer, tried, tests in ROWS
    ]
    for row in rows:
        print(row)
    if options.name:
        keep({"name": options.name, **provenance(["python", "benchmarks/formats_table.py"]), "formats": rows})


def run(tests: list[str]) -> dict[str, Any]:
    """How many of them pass."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    last = done.stdout.strip().splitlines()[-1]
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|skipped)", last)}
    return {"passed": counts.get("passed", 0), "failed": counts.get("failed", 0), "skipped": counts.get("skipped", 0)}


if __name__ == "__main__":
    main()
