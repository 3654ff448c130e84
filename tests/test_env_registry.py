"""Environment ids, overrides and cheap imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

import zoomrl.envs
from zoomrl.envs import make_env
from zoomrl.envs.config import EnvConfig
from zoomrl.errors import ConfigError


@pytest.mark.parametrize("env_id", ["metaworld:drawer-open", "dmc:cartpole-swingup", "gym:Pendulum-v1"])
def test_make_by_id(env_id: str) -> None:
    env = make_env(env_id, time_limit=7)
    assert (env.env_spec.id, env.env_spec.time_limit) == (env_id, 7)
    env.close()


def test_overrides_replace_fields() -> None:
    env = make_env(EnvConfig(id="metaworld:reach", action_repeat=5), reward="dense")
    assert (env.env_spec.action_repeat, env.env_spec.reward) == (5, "dense")


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("metawrld:reach", "unknown environment domain 'metawrld'. Did you mean metaworld"),
        ("drawer-open", "metaworld:<task>, dmc:<domain>-<task>, bigym:.*Did you mean metaworld:drawer-open"),
        ("drawer-open-v3", "Did you mean metaworld:drawer-open"),
        ("nothing", "has no domain"),
        ("dmc:", "names no task"),
    ],
)
def test_bad_ids(env_id: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_env(env_id)


def test_bad_numbers() -> None:
    for options in ({"action_repeat": 0}, {"time_limit": 0}, {"action_repeat": 501}):
        with pytest.raises(ConfigError, match="|".join(options)):
            make_env("metaworld:reach", **options)


def test_no_domain_without_metaworld(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(ConfigError, match="has no domain"):
        make_env("drawer-open")


def test_lazy_names() -> None:
    assert zoomrl.envs.make_vector_env is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = zoomrl.envs.no_such_name


def test_options_import_nothing_heavy() -> None:
    code = "import sys, zoomrl.envs.config; print({'gymnasium', 'numpy', 'torch', 'mujoco'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.long
def test_every_module_imports_without_simulators_or_torch() -> None:
    code = (
        "import sys\n"
        "for name in ('metaworld', 'mujoco', 'dm_control', 'torch'): sys.modules[name] = None\n"
        "import zoomrl.envs.suites.metaworld, zoomrl.envs.suites.dmc\n"
        "import zoomrl.envs.suites.gym.env, zoomrl.envs.vector.make\n"
        "zoomrl.envs.make_env('gym:Pendulum-v1').reset(seed=0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
