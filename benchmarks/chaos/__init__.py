"""An attack on runs and sets: kills, full and frozen disks, flipped bits, hostile files, dead workers, and more.

``python -m benchmarks.chaos`` from the project's root, or ``make chaos``. Each attack is one module; what it does is
drawn from a seed, is bounded in number and time, and is counted in ``benchmarks/results/chaos.json``.
"""
