"""``zoomrl ablate``: iQRL and its ablations on one task, and a table of their returns and ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoomrl.errors import ConfigError, unknown_name
from zoomrl.recipes.latent import ABLATIONS, ablated
from zoomrl.training.config import TrainConfig

if TYPE_CHECKING:
    from rich.table import Table

FULL = "iqrl"
"""Name of the variant that leaves nothing out."""

COLUMNS = {
    "return": "return",
    "rank at 1e-1, %": "latent_rank_1e-1",
    "rank at 1e-2, %": "latent_rank_1e-2",
    "rank at 1e-3, %": "latent_rank_1e-3",
    "codes used, %": "codes_used",
    "cosine, 1 step": "cosine_1",
}
"""Headings, and what stands below them."""


@dataclass(frozen=True)
class Ablate:
    """Train iQRL with parts of its representation changed, and compare returns and ranks of the latents."""

    env: str = "dmc:walker-walk"
    """Task of the DeepMind Control Suite."""
    variants: tuple[str, ...] = (FULL, *ABLATIONS)
    """What to train: iqrl, no_quantisation, mse, reward, projection, reconstruction."""
    seeds: tuple[int, ...] = (1,)
    """Seeds of each."""
    steps: int = 100_000
    """Environment steps of each run."""
    threads: int = 1
    """CPU threads for learning."""
    directory: str = "runs/ablation"
    """Where the runs are written; runs that are there are continued, or read if they are finished."""

    def run(self) -> int:
        """Train what is missing and print the table."""
        for name in self.variants:
            if name != FULL and name not in ABLATIONS:
                raise unknown_name("variant", name, (FULL, *ABLATIONS))
        if not self.variants or not self.seeds:
            raise ConfigError("there is nothing to compare: name at least one variant and one seed")
        from rich.console import Console

        from zoomrl.cli.report import finished_before
        from zoomrl.training.run import train

        console = Console(stderr=True, soft_wrap=True, emoji=False)
        for config in self.configs():
            directory = Path(config.run_dir)
            if finished_before(config, directory):
                continue
            console.print(f"\n{directory}", highlight=False)
            result = train(config, console=console)
            if not result.finished:
                return 128 + int(result.stopped_by or 0)
        Console(emoji=False).print(self.table())
        return 0

    def configs(self) -> Iterator[TrainConfig]:
        """The runs, variant by variant."""
        for name in self.variants:
            base = ablated(None if name == FULL else name, self.env)
            for seed in self.seeds:
                yield replace(
                    base,
                    steps=self.steps,
                    seed=seed,
                    threads=self.threads,
                    run_dir=str(self._place(name, seed)),
                )

    def table(self) -> Table:
        """Return at the end, and the diagnosis of the last evaluation; means over the seeds."""
        from rich.table import Table

        table = Table()
        table.add_column("variant", no_wrap=True)
        for heading in COLUMNS:
            table.add_column(heading, justify="right")
        table.caption = f"{self.env}, {self.steps:,} environment steps, seeds {', '.join(map(str, self.seeds))}"
        for name in self.variants:
            rows = [_measured(self._place(name, seed)) for seed in self.seeds]
            table.add_row(name, *(_mean(rows, key) for key in COLUMNS.values()))
        return table

    def _place(self, name: str, seed: int) -> Path:
        return Path(self.directory) / f"{self.env.replace(':', '-')}-{name}-s{seed}"


def _measured(directory: Path) -> dict[str, Any]:
    from zoomrl.files import read_json
    from zoomrl.training.rows import read_rows

    rows = read_rows(directory / "metrics.jsonl")
    found: dict[str, Any] = {"return": read_json(directory / "result.json").get("return_mean")}
    for kind in ("train", "eval"):
        found |= next((row for row in reversed(rows) if row["kind"] == kind), {})
    return found


def _mean(rows: list[dict[str, Any]], key: str) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    if not values:
        return "-"
    mean = sum(values) / len(values)
    return f"{mean:.2f}" if key.startswith("cosine") else f"{mean:.0f}"
