"""The documentation site: every page is in its navigation, every public name on a page, and the tutorial runs."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import zoomrl
from zoomrl import errors, plugins
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.demos.formats import READERS, WRITERS
from zoomrl.envs.registry import SUITES
from zoomrl.training.callbacks import CALLBACKS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
API = DOCS / "reference" / "api"
SITE = (ROOT / "mkdocs.yml").read_text()
NAVIGATION = re.findall(r"([\w./-]+\.md)$", SITE.partition("\nnav:")[2], re.MULTILINE)
ELSEWHERE = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "start/tutorial.md": "docs/start/tutorial.ipynb",
}
"""Pages of the site -> what they are made of, where it is no Markdown file of docs/ or benchmarks/."""
NAMES = re.findall(r"^::: ([\w.]+)$", "\n".join(page.read_text() for page in sorted(API.glob("*.md"))), re.MULTILINE)
TUTORIAL = DOCS / "start" / "tutorial.ipynb"


def source(page: str) -> Path:
    """Where a page of the navigation lies in the repository."""
    return ROOT / (ELSEWHERE.get(page) or (page if page.startswith("benchmarks/") else f"docs/{page}"))


def test_every_page_is_in_the_navigation_once():
    assert len(NAVIGATION) == len(set(NAVIGATION))
    pages = [*DOCS.rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md"), *(ROOT / name for name in ELSEWHERE.values())]
    assert {source(page) for page in NAVIGATION} == set(pages)


def test_the_navigation_has_the_sections_that_readers_look_for():
    sections = re.findall(r"^  - ([\w-]+):", SITE.partition("\nnav:")[2], re.MULTILINE)
    assert sections == ["Start", "How-to", "Algorithms", "Environments", "Reference", "Design", "Results", "Glossary"]


def test_nothing_is_fetched_from_elsewhere():
    assert "font: false" in SITE
    assert not re.search(r"https?://", SITE)


def test_warnings_fail_the_build():
    (call,) = re.findall(r"^\t@scripts/docs.sh build(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "quiet" not in call, "mkdocs counts no warning that it does not show"
    assert "strict: true" in SITE


def test_every_public_name_is_on_a_page():
    missing = {name for name in zoomrl.__all__ if f"zoomrl.{name}" not in NAMES}
    assert not missing, f"add `::: zoomrl.NAME` to a page of docs/reference/api for {sorted(missing)}"


def test_every_agent_error_and_registry_is_on_a_page():
    shown = [found(name) for name in NAMES]
    for kind in AGENT_CONFIGS.values():
        assert kind in shown, kind
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.ZoomrlError):
            assert kind in shown, name
    for registry in (AGENT_CONFIGS, SUITES, READERS, WRITERS, CALLBACKS):
        assert any(registry is one for one in shown), registry.group
    assert plugins.Registry in shown


def found(name: str) -> object:
    """The object that a page names by its path; AttributeError where there is none."""
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError:
        return importlib.import_module(name)


@pytest.mark.parametrize("name", NAMES)
def test_names_on_pages_exist_and_are_described(name):
    thing = found(name)
    if inspect.isclass(thing) or inspect.isroutine(thing):
        assert (inspect.getdoc(thing) or "").strip(), f"{name} has no docstring"


def test_no_name_is_on_two_pages():
    assert len(NAMES) == len(set(NAMES))


def test_the_tutorial_uses_the_public_interface_alone():
    cells = [cell for cell in json.loads(TUTORIAL.read_text())["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    imports = re.findall(r"^(?:from|import) (zoomrl[\w.]*)", code, re.MULTILINE)
    assert imports
    assert set(imports) == {"zoomrl"}
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"]), (
        "no plot is saved"
    )


@pytest.mark.slow
def test_the_tutorial_runs_and_metrics_are_explained(tmp_path):
    """A shortened form: the same cells, fewer steps. Every field that the run writes has a line in the reference."""
    program = (
        f"import json, sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); import run_notebook; "
        f"notebook = json.load(open({str(TUTORIAL)!r})); space = run_notebook.run(notebook, STEPS=420, EPISODES=2); "
        "outputs = [output for cell in notebook['cells'] for output in cell.get('outputs', [])]; "
        "assert sum('image/png' in output.get('data', {}) for output in outputs) == 2; "
        "assert len(space['actions']) == 200"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    run = tmp_path / "runs" / "tutorial"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"train", "episode", "eval", "final"}
    text = (DOCS / "reference" / "metrics.md").read_text()
    fields = {name for row in rows for name in row} | json.loads((run / "result.json").read_text()).keys()
    missing = {name for name in fields if f"`{name}`" not in text}
    assert {"critic_loss", "return_low", "length", "video_problem"} <= fields
    assert not missing, f"docs/reference/metrics.md has no word on {sorted(missing)}"
