"""Files of others: what they name is not run, what they link to is not read, what they declare is not allocated."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from chaos.hostile import _COMMANDS, Case, attack, honest_run, honest_set, hostile_cases
from zoomrl.agents.build import make_agent
from zoomrl.agents.registry import AGENT_CONFIGS
from zoomrl.cli.evaluate import Evaluate
from zoomrl.cli.report import _evaluation
from zoomrl.data.episode import Episode
from zoomrl.demos.formats.lerobot.files import filled
from zoomrl.demos.store.hdf5 import open_hdf5
from zoomrl.demos.store.limits import FREE, IMAGES, NUMBERS, VARIABLE, VIDEO, Budget, array_size, regular
from zoomrl.demos.store.reader import read_demos
from zoomrl.demos.store.writer import write_demos
from zoomrl.envs.config import EnvConfig
from zoomrl.envs.registry import code_named
from zoomrl.errors import CheckpointError, ConfigError, DemonstrationError
from zoomrl.spec import ArraySpec, EnvSpec
from zoomrl.training.bounded import bounded, check_counts, stored_bytes
from zoomrl.training.config import TrainConfig

CASES = hostile_cases()


def test_there_are_enough_of_them_and_no_two_share_a_name():
    assert len(CASES) >= 200
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES[4::30], ids=lambda case: case.name)
@pytest.mark.long
def test_an_attack_is_repelled(case):
    outcome = attack(case)
    assert not outcome.fault, outcome.line()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_attack_is_repelled(case):
    outcome = attack(case)
    assert not outcome.fault, outcome.line()


@pytest.mark.parametrize("command", [*_COMMANDS.values()], ids=" ".join)
def test_an_honest_set_passes_all_the_same(command):
    assert attack(Case("honest", honest_set, command)).code == 0


@pytest.mark.parametrize(
    "command", [("eval", "run", "--episodes", "1"), ("load_policy", "run"), ("plot", "run")], ids=" ".join
)
@pytest.mark.long
def test_an_honest_run_passes_all_the_same(command):
    assert attack(Case("honest", honest_run, command)).code == 0


# ---- what a run names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (EnvConfig(id="gym:Pendulum-v1"), []),
        (EnvConfig(id="metaworld:drawer-open"), []),
        (EnvConfig(id="dmc:a:b"), []),
        (EnvConfig(id="gym:my.module:Id-v0"), ["my.module"]),
        (EnvConfig(id="gym:a:b:Id-v0"), ["a:b"]),
        (EnvConfig(id="dmc:walker-walk", python="/bin/x"), ["/bin/x"]),
        (EnvConfig(id="gym:m:Id-v0", python="x"), ["'x'", "'m'"]),
    ],
)
def test_what_only_the_config_names_is_told(config, named):
    found = code_named(config)
    assert len(found) == len(named)
    for part, line in zip(named, found, strict=True):
        assert part in line


def test_eval_asks_unless_told(tmp_path):
    run = tmp_path
    honest_run(run)
    path = run / "run/config.json"
    data = json.loads(path.read_text())
    data.pop("digest", None)
    data["env"]["id"] = "gym:gymnasium:Pendulum-v1"
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"import the module 'gymnasium'.*--trust"):
        Evaluate(run / "run", episodes=1).run()
    with pytest.raises(ConfigError, match="--trust"):
        Evaluate(run / "run", episodes=1, env_python="").run()
    assert Evaluate(run / "run", episodes=1, trust=True).run() == 0


def test_the_printed_command_trusts_what_was_made_here(tmp_path):
    plain = TrainConfig()
    assert "--trust" not in _evaluation(tmp_path, plain)
    named = dataclasses.replace(plain, env=EnvConfig(id="gym:m:Id-v0"))
    assert "--trust" in _evaluation(tmp_path, named)


@pytest.mark.parametrize("name", AGENT_CONFIGS)
@pytest.mark.long
def test_networks_are_built_that_fit_their_weights_and_no_others(name):
    spec = EnvSpec("t:x", {"state": ArraySpec((3,))}, ArraySpec((2,), low=(-1.0,) * 2, high=(1.0,) * 2), 10.0, 50)
    config = AGENT_CONFIGS[name]()
    check_counts(dataclasses.asdict(config), name)
    wide = "hidden_dim" if hasattr(config, "hidden_dim") else "width"
    small = dataclasses.replace(config, **{wide: 16}) if hasattr(config, wide) else config
    agent = make_agent(small, spec, restoring=True)
    with bounded(stored_bytes(agent.state_dict())):
        make_agent(small, spec, restoring=True)
    if hasattr(config, wide):
        huge = dataclasses.replace(config, **{wide: 20_000})
        with bounded(stored_bytes(agent.state_dict())), pytest.raises(CheckpointError, match="do not belong together"):
            make_agent(huge, spec, restoring=True)


# ---- what a set declares --------------------------------------------------------------------------------


def test_a_budget_gives_a_factor_or_some_memory_and_counts_the_largest_episode_twice():
    budget = Budget(factor=1)
    budget.add("a", FREE // 2, 0, part="one")
    budget.check()
    budget.add("b", 2, 0, part="one")
    with pytest.raises(ValueError, match=f"a declares {FREE // 2:,} bytes, of which the file stores 0; in all"):
        budget.check()
    budget.add("c", 0, 10)
    budget.check()


def test_what_is_read_on_the_way_counts_while_its_episode_is_read():
    budget = Budget(copies=2, factor=1)
    for part in ("one", "two"):
        budget.add("a", 0, 0, part=part, read=FREE // 2)
    budget.add("a", 1000, 1000)
    budget.check()
    budget.add("b", 1, 0)
    assert not budget.exceeded
    budget.add("b", 1000, 0)
    assert budget.exceeded


def test_images_are_believed_further_and_what_is_stored_as_it_is_always():
    for ratio, allowed in ((NUMBERS, int(NUMBERS * 1e9) + FREE), (IMAGES, IMAGES * 10**9)):
        budget = Budget(copies=0, factor=1)
        budget.add("a", allowed, 10**9, ratio)
        assert not budget.exceeded
        budget.add("a", 1, 0, ratio)
        assert budget.exceeded
    budget = Budget(copies=5, factor=1)
    budget.add("a", 10**9, 10**9)
    assert not budget.exceeded


@pytest.mark.parametrize(
    ("shape", "dtype", "size"),
    [
        ((9, 5), "f8", (180, 360)),
        ((9, 5), "?", (180, 180)),
        ((9, 5), "u1", (180, 180)),
        ((9, 4, 4, 3), "u1", (432, 432)),
    ],
)
def test_arrays_count_as_they_are_read_and_kept(shape, dtype, size):
    assert array_size(shape, np.dtype(dtype))[:2] == size


def test_decoded_content_is_held_against_all_files_once(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(bytes(10**6))
    budget = Budget(copies=0)
    for _ in range(3):
        budget.file(file, VIDEO)
    budget.add("images", VIDEO * 10**6, 0)
    budget.check()
    budget.add("images", 1, 0)
    with pytest.raises(ValueError, match="of 1,000,000"):
        budget.check()


def test_the_ratio_can_be_raised_for_sets_of_ones_own(monkeypatch):
    monkeypatch.setenv(VARIABLE, "1000")
    budget = Budget(copies=0)
    budget.add("a", 1000 * FREE, FREE)
    budget.check()
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(ConfigError, match="whole number"):
        Budget()


def still(observations):
    """A demonstration in which nothing moves."""
    steps = len(next(iter(observations.values()))) - 1
    zeros = np.zeros((steps, 1), np.float32)
    ends = {"terminated": True, "truncated": False, "success": True, "is_demo": True}
    return Episode(observations, zeros, zeros[:, 0], **ends)


@pytest.mark.long
def test_numbers_that_pack_well_are_read_again(tmp_path):
    """Those that a reader would not believe are stored as they are."""
    spec = EnvSpec("toy:still", {"state": ArraySpec((64,))}, ArraySpec((1,), low=(-1.0,), high=(1.0,)), 10.0, 50_000)
    steps = 50_000  # 13 MB each
    episode = still({"state": np.zeros((steps + 1, 64), np.float32)})
    write_demos(tmp_path / "set", [episode] * 5, spec)
    assert len(read_demos(tmp_path / "set")) == 5
    assert 0 < (tmp_path / "set/data/main_data.hdf5").stat().st_size < 5 * episode.observations["state"].nbytes / 2


@pytest.mark.long
def test_a_set_of_images_that_never_change_is_read_again(tmp_path):
    """Gzip would pack them a thousand times, which a reader refuses."""
    spec = EnvSpec(
        "toy:still",
        {"rgb": ArraySpec((1, 96, 96, 3), "uint8")},
        ArraySpec((1,), low=(-1.0,), high=(1.0,)),
        10.0,
        3000,
        cameras=("a",),
    )
    steps = 2600  # 72 MB
    episode = still({"rgb": np.zeros((steps + 1, 1, 96, 96, 3), np.uint8)})
    assert episode.observations["rgb"].nbytes > FREE
    write_demos(tmp_path / "set", [episode], spec)
    assert len(read_demos(tmp_path / "set")) == 1


def test_a_checked_file_gives_out_checked_parts_alone(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["data/x/y"] = np.arange(3.0)
        file["data"].attrs["text"] = "hello"
        file["data"].attrs["number"] = 3
    file, there, cut = open_hdf5(tmp_path / "a.hdf5")
    with file:
        assert (there, cut) == ((tmp_path / "a.hdf5").stat().st_size, [])
        assert file["data/x/y"][()].tolist() == [0, 1, 2]
        assert file["/data/x"]["/data/x/y"][-1] == 2
        assert "x/y" in file["data"]
        assert "x/z" not in file["data"]
        assert "z/y" not in file["data"]
        assert file["data"].get("z", 5) == 5
        assert (file["data"].attrs["text"], file["data"].attrs["number"]) == ("hello", 3)
        assert [type(part).__name__ for part in file["data"].values()] == ["CheckedGroup"]
        with pytest.raises(KeyError):
            file["data/x/y/z"]
        with pytest.raises(DemonstrationError, match="reference"):
            file[file["data"].ref]


@pytest.mark.parametrize(
    "template", ["{chunk_index:>9d}", "{chunk_index.real}", "{chunk_index[0]}", "{other}", "{", "}", "x" * 501, 3]
)
def test_templates_that_do_more_than_fill_in_are_refused(template):
    with pytest.raises(ValueError, match=r"info\.json"):
        filled(template, chunk_index=1)


def test_templates_are_filled_as_python_does():
    template = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index}.mp4"
    values = {"video_key": "a.b", "chunk_index": 7, "file_index": 12}
    assert filled(template, **values) == template.format(**values)


def test_links_are_followed_within_the_set_alone(tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    (root / "a").write_text("x")
    (root / "b").symlink_to("a")
    (tmp_path / "c").write_text("x")
    (root / "d").symlink_to("../c")
    assert regular(root / "b", root)
    with pytest.raises(ValueError, match="outside"):
        regular(root / "d", root)
