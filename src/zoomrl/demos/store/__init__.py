"""Demonstration sets on disk, in Minari's HDF5 layout.

A set is a folder with ``data/main_data.hdf5`` (one group per episode) and ``data/metadata.json``. Minari's
own reader loads it; we write it with h5py because Minari's writer needs JAX. Our
:class:`~zoomrl.spec.EnvSpec` and provenance go along under keys of their own, which Minari ignores.
"""
