"""What users are told: commands that work as they are printed, what is missing and what is broken, how far a run is."""

from __future__ import annotations

import importlib.metadata
import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from rich.console import Console

from envs_toy import TOYS, ToyEnv
from toy import demo_set, rows, run, tiny
from zoomrl import errors
from zoomrl.cli.command import to_type
from zoomrl.cli.main import main
from zoomrl.cli.tree import parse
from zoomrl.errors import BrokenDependencyError, MissingDependencyError, import_optional, install_command, plural
from zoomrl.training.progress import ProgressLine

ROOT = Path(__file__).parents[1]
ODD = 'it\'s a "run" of $HOME; s1'


# ---- commands ---------------------------------------------------------------------------------------------


def test_commands_are_quoted_for_the_shell():
    words = ["eval", ODD, "--video", Path(ODD) / "video.mp4", "--episodes", 3]
    assert shlex.split(to_type(*words))[-len(words) :] == [str(word) for word in words]


def test_a_program_in_a_folder_with_spaces_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "my tools" / "zoomrl")])
    assert shlex.split(to_type("doctor")) == ["my tools/zoomrl", "doctor"]


@pytest.mark.long
def test_the_command_after_an_import_reads_back(tmp_path, capsys):
    exported, back = tmp_path / ODD, tmp_path / f"{ODD} back"
    assert main(["demos", "export", "npz", str(demo_set(tmp_path / "set")), "--out", str(exported)]) == 0
    assert main(["demos", "import", "npz", str(exported), "--out", str(back)]) == 0
    printed = capsys.readouterr().out.partition("train on them with: ")[2].splitlines()[0]
    words = shlex.split(printed)
    command = parse(words[words.index("train") :])
    assert command.to_config().demos.source == str(back)  # type: ignore[attr-defined]


def test_counts_have_their_noun():
    assert [plural(n, "fresh episode") for n in (0, 1, 2_000)] == [
        "0 fresh episodes",
        "1 fresh episode",
        "2,000 fresh episodes",
    ]


# ---- what is missing, what is broken ----------------------------------------------------------------------


def test_what_installs_an_extra_from_a_checkout(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert install_command("wandb").endswith("pip install -e '.[wandb]'")
    monkeypatch.chdir(tmp_path)
    assert shlex.split(install_command("wandb"))[-2:] == ["-e", f"{ROOT}[wandb]"]


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, ["zoomrl[dmc]"]),
        ({"url": "{folder}", "dir_info": {"editable": True}}, ["-e", "{path}[dmc]"]),
        ({"url": "{folder}", "dir_info": {}}, ["{path}[dmc]"]),
        (
            {"url": "https://host/it.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            ["zoomrl[dmc] @ git+https://host/it.git@abc"],
        ),
        ({"url": "file:///no/such/folder", "dir_info": {}}, ["zoomrl[dmc]"]),
    ],
)
def test_what_installs_an_extra_of_an_installed_package(monkeypatch, tmp_path, origin, expected):
    class Distribution:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return None if origin is None else json.dumps(origin).replace("{folder}", tmp_path.as_uri())

    monkeypatch.setattr(errors, "__file__", str(tmp_path / "site-packages" / "zoomrl" / "errors.py"))
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())
    words = shlex.split(install_command("dmc"))
    assert words[words.index("install") + 1 :] == [word.replace("{path}", str(tmp_path)) for word in expected]


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        (None, MissingDependencyError, "'some_tool' is not installed. The extra zoomrl[sim]"),
        ("import no_such_part", BrokenDependencyError, "No module named 'no_such_part'"),
        ("raise ImportError('libGL.so.1: cannot open')", BrokenDependencyError, "libGL.so.1: cannot open"),
    ],
)
def test_a_broken_package_is_not_called_missing(monkeypatch, tmp_path, content, kind, text):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_tool", raising=False)
    if content is not None:
        (tmp_path / "some_tool").mkdir()
        (tmp_path / "some_tool" / "__init__.py").write_text(content)
    with pytest.raises(MissingDependencyError, match=re.escape(text)) as caught:
        import_optional("some_tool.part", "sim")
    assert type(caught.value) is kind
    assert ("is not installed" in str(caught.value)) == (kind is MissingDependencyError)


# ---- how far a run is -------------------------------------------------------------------------------------


def lines_of(terminal: bool, every: int = 10) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=60)
    with ProgressLine(console, every) as progress:
        progress.phase("train", 25, 8)
        for done in range(8, 26):
            progress.advance(done, "success 50% of last 4 episodes")
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_outside_a_terminal_a_line_per_interval_and_at_the_end():
    lines = lines_of(terminal=False)
    assert [line.partition("  ")[0] for line in lines] == [f"train {done} of 25" for done in (10, 20, 25)]
    assert all(re.fullmatch(r".*success 50% of last 4 episodes  \d+:\d\d:\d\d left", line) for line in lines)


def test_on_a_terminal_there_is_one_live_line():
    assert not any("of 25" in line for line in lines_of(terminal=True))


@pytest.mark.parametrize(("env", "word"), [("gym:toy", "success"), ("gym:silent", "return")])
@pytest.mark.long
def test_a_run_says_success_or_return_and_logs_success_only_where_it_is_reported(env, word, tmp_path, monkeypatch):
    class Silent(ToyEnv):
        def reset(self, **options):
            return super().reset(**options)[0], {}

        def step(self, action):
            return *super().step(action)[:4], {}

    monkeypatch.setitem(TOYS, "gym:silent", Silent)
    result, said = run(tiny(tmp_path / "run", env__id=env, steps=40, eval__keep_best=True))
    steps = [line for line in said.splitlines() if line.startswith("train ")]
    assert len(steps) == 6  # every 7 steps, and at the end
    assert re.search(rf"train 40 of 40  {word} \S+ of last \d+ episodes?  eval .* steps/s, .* left", steps[-1])
    written = [*rows(tmp_path / "run"), json.loads((tmp_path / "run" / "result.json").read_text())]
    reported = [name for row in written for name in row if name.startswith("success")]
    assert bool(reported) == (word == "success")
    assert (result.evaluation.success_rate is None) == (word == "return")  # type: ignore[union-attr]
