"""Keep verdicts of ``zoomrl reproduce`` under benchmarks/results/, and write the tables of them in the documentation.

Usage: python benchmarks/reproduce_record.py [--commit SHA] [DIR ...]

Without a directory, the tables are written from what is kept already: that of all verdicts, and those of the arms of
one experiment, between ``<!-- arms of NAME: METRIC -->`` and ``<!-- end of arms -->`` on any page.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from zoomrl.files import read_json
from zoomrl.reproduce.page import estimate_in_words
from zoomrl.reproduce.registration import read_registration

try:
    from provenance import RESULTS, keep, provenance
except ImportError:  # as a module of the tests
    from benchmarks.provenance import RESULTS, keep, provenance

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "how-to" / "reproducing.md"
ARMS = re.compile(r"(<!-- arms of (\S+): (\S+) -->\n).*?(<!-- end of arms -->)", re.DOTALL)
TABLE = re.compile(r"(<!-- verdicts: [^\n]* -->\n).*?(<!-- end of verdicts -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="*", type=Path, metavar="DIR")
    parser.add_argument("--commit", help="commit that they were made with; the current one by default")
    options = parser.parse_args()
    for directory in options.directories:
        print(f"wrote {keep(result(directory, options.commit))}")
    for page in sorted(DOCS.rglob("*.md")):
        before = page.read_text()
        if (after := written(before)) != before:
            page.write_text(after)
            print(f"wrote the tables of {page}")


def written(text: str) -> str:
    """``text`` of a page with its tables as they are now."""
    results = {one["name"]: one for one in kept()}

    def arms(found: re.Match[str]) -> str:
        return found[1] + arms_table(results[f"reproduce_{found[2].replace('-', '_')}"], found[3]) + found[4]

    return ARMS.sub(arms, TABLE.sub(lambda found: found[1] + table(list(results.values())) + found[2], text))


def arms_table(result: dict[str, Any], metric: str) -> str:
    """A line for each arm, a column for each task and, of several, one for their mean."""
    tasks = result["registration"]["tasks"]
    heads = ["", *(task.partition(":")[2] for task in tasks), *(["all"] if len(tasks) > 1 else [])]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for arm in result["arms"]:
        if metric not in arm["metrics"]:
            continue
        found = arm["metrics"][metric]
        cells = [estimate_in_words(found["tasks"][task]) if task in found["tasks"] else "-" for task in tasks]
        whole = [estimate_in_words(found["all"]) if found["all"] else "-"] if len(tasks) > 1 else []
        lines.append(f"| {' | '.join([arm['about'], *cells, *whole])} |")
    return "\n".join(lines) + "\n"


def result(directory: Path, commit: str | None = None) -> dict[str, Any]:
    """What is kept of the verdict in ``directory``: all of it, with the commit, and what was registered.

    Machine, versions and dates are those of the verdict, not of this call.
    """
    verdict = read_json(directory / "verdict.json")
    if not verdict["finished"]:
        sys.exit(f"{directory} is not finished: {len(verdict['missing'])} cells are missing")
    registration = read_registration(directory)
    name = f"reproduce_{verdict['experiment'].replace('-', '_')}"
    name += "" if verdict["scale"] == "small" else f"_{verdict['scale']}"
    command = re.sub(r" --out \S+", "", verdict["command"])
    origin = {"commit": provenance([], commit)["commit"], "command": f"zoomrl {command.partition('reproduce')[1]}"}
    origin["command"] += command.partition("reproduce")[2]
    kept = {key: value for key, value in verdict.items() if key not in ("command", "digest")}
    told = {key: registration[key] for key in ("tasks", "seeds", "options", "stop_rule")}
    return {"name": name, **origin, **kept, "registration": told}


def kept() -> list[dict[str, Any]]:
    """All verdicts that are kept."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("reproduce_*.json"))]


LEAST_SEEDS = 4
"""Of an experiment in the table: fewer are a look, and no result."""


def table(results: list[dict[str, Any]]) -> str:
    """A line for each contrast of each result; looks are named below."""
    looks = [one for one in results if len(one["registration"]["seeds"]) < LEAST_SEEDS]
    results = [one for one in results if one not in looks]
    if not results:
        lines = ["No verdict is kept yet."]
    else:
        lines = ["| experiment | contrast | published | here | pairs | verdict |", "|---|---|---|---|---|---|"]
    for one in results:
        link = f"[{one['experiment']}](../../benchmarks/results/{one['name']}.json)"
        link += "" if one["scale"] == "small" else f", {one['scale']}"
        for claim in one["claims"]:
            what = "ratio" if claim["ratio"] else "difference" if claim["right"] else "value"
            ours = "none" if claim["estimate"] is None else f"{what} {estimate_in_words(claim['estimate'])}"
            expected = f"{claim['expected']} {claim['threshold']:g}"
            told = claim["claim"]["published"].replace("|", " ")
            arms = [f"`{arm}`" for arm in (claim["left"], claim["right"]) if arm]
            sides = f" {'/' if claim['ratio'] else '-'} ".join(arms)
            asked = f"{claim['name']}: `{claim['metric']}` of {sides} {expected}"
            cells = (link, asked, told, ours, claim["pairs"], claim["verdict"])
            lines.append(f"| {' | '.join(map(str, cells))} |")
    if looks:
        names = ", ".join(f"[{one['experiment']}](../../benchmarks/results/{one['name']}.json)" for one in looks)
        lines += ["", f"Looks, with fewer than {LEAST_SEEDS} seeds: {names}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
