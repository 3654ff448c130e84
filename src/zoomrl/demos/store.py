"""Demonstration sets on disk, in Minari's HDF5 layout: the entry points.

A set is a folder with ``data/main_data.hdf5`` (one group per episode) and ``data/metadata.json``. Minari's
own reader loads it; we write it with h5py because Minari's writer needs JAX. Our
:class:`~zoomrl.spec.EnvSpec` and provenance go along under keys of their own, which Minari ignores.
"""

from __future__ import annotations

from zoomrl.demos.reader import DemoSet, content_hash, read_demos, read_episode
from zoomrl.demos.writer import write_demos

__all__ = ["DemoSet", "content_hash", "read_demos", "read_episode", "write_demos"]
