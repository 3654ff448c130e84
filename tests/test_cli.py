"""The command line as users meet it: help, mistakes, completion, and one tiny run from training to plot."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import zoomrl
from forked import Forked
from zoomrl.agents.cqn.config import CQNASConfig, CQNConfig
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.cli.main import main
from zoomrl.cli.train import defaults
from zoomrl.cli.tree import parse
from zoomrl.errors import ConfigError, ZoomrlError
from zoomrl.recipes.compose import preset, with_agent
from zoomrl.recipes.presets import PRESETS
from zoomrl.training.config import TrainConfig

OPTIONS = {
    "--env": "metaworld:reach",
    "--env.time-limit": 40,
    "--demos.episodes": 1,
    "--agent.hidden-dim": 16,
    "--agent.atoms": 11,
    "--replay.batch-size": 8,
    "--steps": 60,
    "--offline-updates": 2,
    "--eval.every": 30,
    "--eval.episodes": 1,
    "--eval.num-envs": 1,
    "--eval.final-episodes": 2,
    "--threads": 1,
}
SMALL = ["train", "--log.no-tensorboard", *(str(word) for option in OPTIONS.items() for word in option)]

HEAVY = ("torch", "torchrl", "tensordict", "gymnasium", "matplotlib", "h5py", "mujoco")


def option_names(config: object, prefix: str = "") -> list[str]:
    """Every field of a config as the option that sets it."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        name = field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            names += option_names(value, f"{prefix}{name}.")
        else:
            names.append(f"--{prefix}{name}")
    return names


def finish(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# ---- help ------------------------------------------------------------------------------------------------


# One preset of each agent: those of a family differ by their numbers alone.
ONE_OF_EACH = sorted({preset(name).agent.name: name for name in PRESETS}.values())


@pytest.mark.parametrize(
    "name",
    [name if index % 4 == 0 else pytest.param(name, marks=pytest.mark.slow) for index, name in enumerate(ONE_OF_EACH)],
)
@pytest.mark.long
def test_train_help_lists_every_option_and_preset(capsys, name):
    code, out, _ = finish(["train", "--preset", name, "--help"], capsys)
    assert code == 0
    for option in [*option_names(preset(name)), "--agent ", "--env ", "--demos "]:
        assert re.search(rf"{re.escape(option)}\b" if option[-1] != " " else re.escape(option), out), option
    about = " ".join((type(preset(name).agent).__doc__ or "").partition("\n")[0].split())
    assert about in " ".join(out.replace("│", " ").split()), "what the algorithm is"
    assert all(re.search(rf" {re.escape(known)}(,| |\n)", out) for known in PRESETS)


@pytest.mark.parametrize(
    "words",
    [
        ["eval"],
        ["demos"],
        ["demos", "collect"],
        ["demos", "inspect"],
        ["plot"],
        ["presets"],
        ["doctor"],
        ["completion"],
    ],
)
def test_every_command_has_help(capsys, words):
    code, out, _ = finish([*words, "--help"], capsys)
    assert code == 0
    assert f"usage: zoomrl {' '.join(words)}" in out


def test_no_command_shows_the_commands(capsys):
    code, out, _ = finish([], capsys)
    assert code == 0
    for name in ("train", "eval", "demos", "plot", "presets", "doctor", "completion"):
        assert f"• {name}" in out


def test_version(capsys):
    assert finish(["--version"], capsys)[1].startswith("zoomrl 0.")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["train", "--help"],
        ["doctor", "--help"],
        ["completion", "bash"],
        ["train", "--steps", "many"],
    ],
)
@pytest.mark.long
def test_nothing_heavy_is_imported_for_words_alone(words):
    code = (
        "import sys; from zoomrl.cli.main import main; main(sys.argv[1:]); "
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


# ---- what the words mean ---------------------------------------------------------------------------------


def config_of(*words: str) -> TrainConfig:
    command = parse(["train", *words])
    return command.to_config()  # type: ignore[attr-defined]


def test_no_words_are_the_quickstart():
    assert config_of() == preset("quickstart")


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_preset_alone_is_that_preset(name):
    assert config_of("--preset", name) == config_of(f"--preset={name}") == preset(name)


def test_options_reach_their_fields():
    config = config_of("--steps", "7", "--agent.hidden-dim", "32", "--env.id", "metaworld:door-open", "--no-resume")
    assert (config.steps, config.agent.hidden_dim, config.env.id, config.resume) == (
        7,
        32,
        "metaworld:door-open",
        False,
    )


def test_short_forms():
    config = config_of("--env", "metaworld:door-open", "--demos", "some/where")
    assert (config.env.id, config.demos.source) == ("metaworld:door-open", "some/where")
    assert config_of("--demos", "none", "--offline-updates", "0").demos.source == "none"


def test_another_agent_keeps_what_both_share():
    config = config_of("--agent", "cqn", "--agent.lr", "0.5")
    start = preset("quickstart")
    assert type(config.agent) is CQNConfig
    assert config.agent.lr == 0.5
    shared = {f.name for f in dataclasses.fields(CQNConfig)} - {"lr"}
    assert all(getattr(config.agent, name) == getattr(start.agent, name) for name in shared)
    assert (config.control.executor, config.control.snap) == ("open_loop", True)
    back = with_agent(config, "cqn_as")
    assert isinstance(back["agent"], CQNASConfig)
    assert (back["control"].executor, back["control"].snap) == ("temporal_ensemble", False)


def test_the_preset_s_own_agent_changes_nothing():
    for name in PRESETS:
        assert TrainConfig(**with_agent(preset(name), preset(name).agent.name)) == preset(name)
    assert defaults(["--agent=cqn"]).agent_name == "cqn"


@pytest.mark.long
def test_every_agent_goes_with_every_preset_or_says_what_it_needs():
    for name in PRESETS:
        for agent in AGENT_CONFIGS:
            words = ["--preset", name, "--agent", agent]
            if name.endswith("-gym") and AGENT_CONFIGS[agent]().support is not None:
                # What any task returns is not known, unless the preset's own agent needs no range.
                words += ["--agent.value", "scalar"]
            given = defaults(words)
            if agent in ("bc", "act") and not (given.offline_updates and given.demos.source != "none"):
                # Agents that imitate need demonstrations, and to be told for how long.
                with pytest.raises(ConfigError, match=r"demos\.source is 'none'|say how many"):
                    given.to_config()
                continue
            assert given.to_config().agent.name == agent


def test_what_belongs_to_an_algorithm_follows_it():
    def of(*words):
        return defaults(words).to_config()

    assert of("--preset", "sac-dmc", "--agent", "td3").control.noise == "0.1"
    assert of("--preset", "iqrl-dmc-cpu", "--agent", "sac").control.noise == "0.0"
    judged = of("--preset", "td3-dmc", "--agent", "td7")
    assert (judged.update_at, judged.replay.sampling) == ("episode", "priority")
    assert of("--preset", "td7-dmc", "--agent", "td3").replay.sampling == "transition"
    imitated = of("--preset", "cqn_as-metaworld", "--agent", "bc")
    assert (imitated.steps, imitated.replay.demo_fraction) == (0, 1.0)
    assert of("--preset", "bc-metaworld", "--agent", "cqn_as").demos.validation == 0


@pytest.mark.parametrize("task", ["walker-walk", "dog-walk", "fish-swim", "acrobot-swingup"])
def test_a_baseline_of_iqrl_has_no_latent(task):
    assert (
        defaults(["--preset", "iqrl-dmc", "--env", f"dmc:{task}", "--agent", "td3"]).agent.representation.kind == "none"
    )
    matched, full = (preset(name, env=f"dmc:{task}") for name in ("td3-dmc-matched", "iqrl-dmc"))
    assert matched.agent.representation.kind == "none"
    same = ("hidden", "norm", "activation", "critics", "subset", "actor_value", "noise_clip", "delayed_targets", "lr")
    assert all(getattr(matched.agent, name) == getattr(full.agent, name) for name in same)
    assert dataclasses.replace(matched, agent=full.agent, preset=full.preset) == full


# ---- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["trian"], "Did you mean train?"),
        (["demos", "inspct"], "Did you mean inspect or import?"),
        (["train", "--preset", "quikstart"], "Did you mean quickstart"),
        (["train", "--preset=quikstart"], "Did you mean quickstart"),
        (["train", "--agent", "cqnas"], "Did you mean cqn_as"),
        (["train", "--agent.chunk-lenth", "3"], "--agent.chunk-length"),
        (["train", "--agent=cqn", "--agent.chunk-length", "4"], "no --agent.chunk-length, which belongs to cqn_as,"),
        (["train", "--agent.dueling", "bth"], "'separate', 'shared', 'none'"),
        (["train", "--steps", "many"], "--steps"),
        (["train", "--steps", "-1"], "steps must be at least 0, got -1"),
        (["train", "--preset", "cqn_as-metaworld", "--demos", "none"], "--offline-updates 0"),
        (["eval"], "RUN"),
        (["eval", "x", "--episodes", "0"], "--episodes must be at least 1"),
        (["eval", "x", "--video", "x.avi"], ".mp4 or .gif"),
        (["plot"], "zoomrl plot runs"),
        (["completion", "sh"], "'bash', 'zsh'"),
    ],
)
def test_usage_errors_are_explained(capsys, words, hint):
    code, out, err = finish(words, capsys)
    assert code == 2
    assert hint in re.sub(r"\s*│\n│\s*", " ", err)
    assert "Traceback" not in out + err


@pytest.mark.parametrize("words", [["eval", "nowhere"], ["plot", "nowhere"], ["demos", "inspect", "nowhere"]])
def test_missing_files_are_explained(capsys, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = finish(words, capsys)
    assert code == 1
    assert err.startswith("error: ")
    assert "nowhere" in err
    assert "Traceback" not in out + err


def test_an_unknown_preset_names_all_and_says_where_they_are_described():
    with pytest.raises(ConfigError) as error:
        preset("nope")
    said = str(error.value)
    assert re.search(r"unknown preset 'nope'\. Known: act-demos, .*, td7-dmc\. `zoomrl presets` lists", said)
    assert len(said) < 1500


def test_unknown_task_suggests_the_nearest(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = finish(["train", "--env", "metaworld:drawer-opn"], capsys)
    assert code == 2
    assert "Did you mean drawer-open" in err


def test_debug_shows_the_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZoomrlError):
        main(["plot", "nowhere", "--debug"])
    monkeypatch.setenv("ZOOMRL_DEBUG", "1")
    with pytest.raises(ZoomrlError):
        main(["plot", "nowhere"])


@pytest.mark.long
def test_unwritable_place_is_an_error_not_a_traceback(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    code, _, err = finish([*SMALL, "--run-dir", "file/run"], capsys)
    assert code == 1
    assert "file" in err


def test_another_suite_keeps_its_own_time_limit():
    """The preset's is that of the suite that it was made for."""
    assert defaults([]).to_config().env.time_limit == 150
    assert defaults(["--env", "metaworld:reach"]).env.time_limit == 150
    for words in (["--env", "gym:Pendulum-v1"], ["--env.id=gym:Pendulum-v1"]):
        assert defaults(words).env.time_limit is None


@pytest.mark.long
def test_the_command_to_train_on_a_new_set_builds_the_same_environment(tmp_path, capsys):
    words = (
        "demos collect --env.id metaworld:reach --env.action-repeat 2 --env.no-terminate-on-success --env.reward dense"
    )
    code, out, _ = finish([*words.split(), "--episodes", "1", "--out", str(tmp_path / "set")], capsys)
    assert code == 0
    (line,) = (line for line in out.splitlines() if line.startswith("train on them with: "))
    asked = shlex.split(line.partition("with: ")[2])
    config = parse(asked[asked.index("train") :]).to_config()
    assert (config.env.action_repeat, config.env.terminate_on_success, config.env.reward) == (2, False, "dense")


# ---- a run -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The directory in which a tiny run was made through the command line, and what that printed."""
    place, out, err = tmp_path_factory.mktemp("cli"), io.StringIO(), io.StringIO()
    with contextlib.chdir(place), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(SMALL)
    return place, subprocess.CompletedProcess(SMALL, code, out.getvalue(), err.getvalue())


RUN = "runs/quickstart-cqn_as-metaworld-reach-s1"


@pytest.mark.long
def test_training_reports_result_and_files(trained):
    place, done = trained
    assert done.returncode == 0, done.stderr
    assert re.search(r"success \d+% \(\d of 2 fresh episodes; 95 % interval", done.stdout)
    assert "┤" in done.stdout
    for name in ("success.png", "config.json", "result.json", "checkpoints/step_0000000060.pt"):
        assert (place / RUN / name).exists()
        assert name in done.stdout or name.endswith(".json")
    video = re.search(r"^video +(.*)", done.stdout, re.MULTILINE)
    assert video is not None
    # Either the video is there, or the report says why not and what to do.
    assert (place / video[1]).exists() or ("none: " in video[1] and "Then: zoomrl eval" in done.stdout)
    assert not {"Traceback", "Exception"} & set(re.findall(r"\w+", done.stdout))


@pytest.mark.parametrize(
    "words",
    [
        ["demos", "collect"],
        ["demos", "check", "x"],
        ["demos", "import", "npz", "x", "--out", "y"],
        ["env", "check", "gym:X-v0"],
    ],
)
def test_the_environment_is_named_as_in_train(words):
    short, full = (parse([*words, *option]) for option in (["--env", "dmc:a-b"], ["--env.id=dmc:a-b"]))
    assert short == full
    assert short.env.id == "dmc:a-b"


def test_a_mistake_in_a_nested_command_names_its_own_help(capsys):
    code, _, err = finish(["demos", "collect", "--episode"], capsys)
    assert code == 2
    assert "zoomrl demos collect --help" in err


@pytest.mark.long
def test_finished_run_shows_its_result_again(trained, capsys, monkeypatch):
    place, done = trained
    monkeypatch.chdir(place)
    before = (place / RUN / "result.json").stat().st_mtime_ns
    code, out, _ = finish(SMALL, capsys)
    assert code == 0
    assert "is finished already" in out
    assert done.stdout.splitlines()[0] in out
    assert (place / RUN / "result.json").stat().st_mtime_ns == before


@pytest.mark.long
def test_another_config_in_the_same_place_is_refused(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained[0])
    code, _, err = finish([*SMALL, "--agent.hidden-dim", "32"], capsys)
    assert code == 1
    assert "agent.hidden_dim: 16 -> 32" in err


@pytest.mark.long
def test_evaluation(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained[0])
    code, out, _ = finish(["eval", RUN, "--episodes", "3", "--json"], capsys)
    assert code == 0
    row = json.loads(out)
    assert (row["episodes"], row["env"], row["env_steps"]) == (3, "metaworld:reach", 60)
    assert len(set(row["seeds"])) == 3
    final = json.loads((trained[0] / RUN / "result.json").read_text())
    assert not set(row["seeds"]) & set(final["seeds"])
    again = json.loads(finish(["eval", RUN, "--episodes", "3", "--json"], capsys)[1])
    assert again["returns"] == row["returns"]
    code, out, _ = finish(["eval", RUN, "--episodes", "1", "--seed", "1"], capsys)
    assert code == 0
    assert "metaworld:reach" in out


@pytest.mark.long
def test_plot_of_the_run(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained[0])
    code, out, _ = finish(["plot", RUN, "--out", "curves.png"], capsys)
    assert (code, out.strip()) == (0, "curves.png")
    assert Path("curves.png").exists()


@pytest.mark.long
def test_demonstrations_of_the_run(trained, capsys, monkeypatch):
    monkeypatch.chdir(trained[0])
    path = str(next(Path("demos").glob("metaworld-reach-1-s0-*")))
    code, out, _ = finish(["demos", "inspect", path], capsys)
    assert code == 0
    assert "1 successful" in out
    code, out, _ = finish(["demos", "inspect", path, "--json", "--levels", "2"], capsys)
    assert (json.loads(out)["demos"], json.loads(out)["levels"]) == (1, 2)


@pytest.mark.long
def test_collecting_demonstrations(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["demos", "collect", "--env.id", "metaworld:reach", "--episodes", "2", "--out", "set"]
    code, out, _ = finish(words, capsys)
    assert code == 0
    assert "recorded 2 demonstrations" in out
    code, _, err = finish(words, capsys)
    assert code == 1
    assert "--overwrite" in err
    assert finish([*words, "--overwrite"], capsys)[0] == 0


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.long
def test_interrupted_run_says_how_to_resume(tmp_path):
    words = [*SMALL, "--steps", "100000", "--eval.every", "0", "--eval.no-video"]

    def work() -> None:
        os.chdir(tmp_path)
        sys.exit(main(words))

    process, deadline = Forked(work, tmp_path / "log"), time.monotonic() + 200
    metrics = tmp_path / RUN / "metrics.jsonl"
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text()):
        time.sleep(0.1)
    process.signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    err = (tmp_path / "log").read_text()
    assert "same command again to resume" in " ".join(err.split())
    assert list((tmp_path / RUN / "checkpoints").glob("step_*.pt"))


# ---- the package -----------------------------------------------------------------------------------------


def test_import_is_instant_and_names_load_on_use():
    code = (
        "import sys, zoomrl; "
        f"assert not [m for m in {HEAVY} if m in sys.modules]; "
        "from zoomrl import TrainConfig, preset; assert isinstance(preset('quickstart'), TrainConfig); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert callable(zoomrl.train)
    assert all(getattr(zoomrl, name) is not None for name in zoomrl.__all__)
