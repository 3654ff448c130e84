"""The Tab key, pressed in real shells; and what may come next, asked directly."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.cli import env_ids
from zoomrl.cli.complete import complete, main
from zoomrl.cli.completion import completion_script
from zoomrl.cli.tree import COMMANDS
from zoomrl.recipes.presets import PRESETS

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
LINES = [
    ("zoomrl demos ins\t", "<demos><inspect>"),
    # Options of the agent that is named, not of the default one.
    ("zoomrl train --agent td3 --agent.policy-d\t 2", "<train><--agent><td3><--agent.policy-delay><2>"),
    ("zoomrl train --preset quicks\t", "<train><--preset><quickstart>"),
    ("zoomrl train --env meta\tpeg-i\t", "<train><--env><metaworld:peg-insert-side>"),
    ("zoomrl plot runs/first-s1 runs/my\t", "<plot><runs/first-s1><runs/my run's>"),
]
"""What is typed, and the words that the program is then started with."""
STAND_IN = """#!/bin/sh
printf '<%s>' "$@"; echo
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two runs, one of them of a name that must be quoted."""
    for name in ("first-s1", "my run's"):
        (tmp_path / "runs" / name / "checkpoints").mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    (tmp_path / "runs" / "first-s1" / "checkpoints" / "step_1.pt").touch()
    (tmp_path / "runs" / "no run").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Terminal:
    """A shell in a terminal of its own, which is typed into."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.output = ""
        self._process, self._handle = pty.fork()
        if not self._process:
            os.chdir(folder)
            path = f"{folder / 'bin'}:{os.environ['PATH']}"
            os.environ.update(PATH=path, TERM="dumb", HOME=str(folder), HISTFILE="", COLUMNS="200")
            os.execvp(command[0], command)

    def type(self, text: str) -> None:
        os.write(self._handle, text.encode())

    def wait_for(self, pattern: str, seconds: float = 60.0) -> str:
        """What was printed since the last call, up to and with ``pattern``."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.output, re.MULTILINE)):
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.output!r}"
            if select.select([self._handle], [], [], left)[0]:
                self.output += os.read(self._handle, 65536).decode(errors="replace").replace("\r", "")
        self.output = self.output[found.end() :]
        return found[0]

    def close(self) -> None:
        os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._handle)


@pytest.mark.parametrize(
    "shell", [shell if shell == "bash" else pytest.param(shell, marks=pytest.mark.slow) for shell in SHELLS]
)
@pytest.mark.long
def test_the_tab_key_in_a_real_shell(shell, folder):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script, program = folder / "script", folder / "bin" / "zoomrl"
    script.write_text(completion_script(shell))
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    terminal = Terminal(SHELLS[shell], folder)
    try:
        terminal.type(f"source {script}\n")
        for typed, expected in LINES:
            terminal.type(f"{typed}\n")
            # A folder may end in a slash.
            assert terminal.wait_for(r"^<.*>$").replace("/>", ">") == expected
    finally:
        terminal.close()


def words(*typed: str) -> set[str]:
    return {candidate.word for candidate in complete(typed)}


@pytest.mark.long
def test_every_kind_of_word_is_offered(folder):
    assert words("") == set(COMMANDS)
    assert words("--v") == {"--version"}
    assert words("demos", "") == {"collect", "collect-play", "inspect", "view", "check", "import", "export"}
    assert words("env", "") == {"check"}
    assert words("train", "--preset", "") == set(PRESETS)
    assert words("train", "--agent", "") == set(AGENT_CONFIGS)
    assert words("train", "--env.reward", "") == {"auto", "sparse", "dense", "native"}
    assert words("train", "--env.reward=s") == {"--env.reward=sparse"}
    assert words("train", "--env", "") == {f"{name}:" for name in env_ids.DOMAINS}
    assert "gym:Pendulum-v1" in words("train", "--env=g") | words("train", "--env", "gym:Pend")
    assert words("eval", "") == {"runs/first-s1", "runs/my run's"}
    assert words("eval", "runs/") == {"runs/first-s1", "runs/my run's", "runs/no run/"}
    assert words("demos", "import", "min") == {"minari"}
    assert {"--steps", "--agent.levels", "--eval.no-video"} <= words("train", "--")


def test_commands_of_a_sweep_and_scenes_of_play_are_offered(folder):
    assert words("sweep", "st") >= {"status", "stop"}
    assert "--all" in words("sweep", "status", "--")
    assert {"puzzle-3x3", "puzzle-4x6"} <= words("demos", "collect-play", "pu")


def test_nothing_is_offered_where_nothing_is_known(folder):
    assert words("train", "--steps", "") == set()
    assert words("nonsense", "") == set()
    assert words("train", "--env", "nonsense:") == set()


def test_a_preset_that_is_not_typed_in_full_does_not_stop_completion():
    assert words("train", "--preset", "quick", "--seed-s") == {"--seed-steps"}


@pytest.mark.long
def test_descriptions_stay_on_their_line():
    told = [c for name in AGENT_CONFIGS for c in complete(["train", "--agent", name, "--"])]
    assert len(told) > 500
    assert not any(set("\n\t\r") & set(c.word + c.about) for c in told)
    assert all(c.about for c in told if c.word != "--help")


@pytest.mark.parametrize(("domain", "package"), [("metaworld", "metaworld"), ("dmc", "dm_control")])
def test_ids_are_those_of_the_installed_simulator(domain, package):
    pytest.importorskip(package)
    from zoomrl.envs.suites.dmc import dmc_tasks
    from zoomrl.envs.suites.metaworld import metaworld_tasks

    tasks = metaworld_tasks() if domain == "metaworld" else dmc_tasks()
    assert env_ids.ids(domain) == [f"{domain}:{task}" for task in tasks]


def test_tcsh_hands_over_its_line(folder, monkeypatch, capsys):
    monkeypatch.setenv("COMMAND_LINE", "zoomrl train --preset quicks")
    monkeypatch.setattr(sys, "argv", ["complete", "tcsh"])
    main()
    assert capsys.readouterr().out == "quickstart\n"


def test_the_interpreter_of_the_installation_is_asked():
    assert all(f"{sys.executable} -P -m zoomrl" in completion_script(shell) for shell in (*SHELLS, "tcsh"))
