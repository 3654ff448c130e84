"""Where scripted demonstrations are kept: what shapes a set is in its name."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import pytest

from zoomrl.demos.config import DemoConfig
from zoomrl.envs.config import EnvConfig
from zoomrl.training.scripted import scripted_path

PICTURES = EnvConfig(cameras=("corner", "gripperPOV"))


@pytest.mark.parametrize(
    ("env", "name"),
    [
        (EnvConfig(), "metaworld-drawer-open-20-s0"),
        (EnvConfig(image_size=64, shadows=False), "metaworld-drawer-open-20-s0"),
        (EnvConfig(state="full"), "metaworld-drawer-open-20-s0"),
        (EnvConfig(time_limit=99, action_repeat=2), "metaworld-drawer-open-20-s0-r2-t99"),
        (EnvConfig(state="robot"), "metaworld-drawer-open-20-s0-robotstate"),
        (PICTURES, "metaworld-drawer-open-20-s0-corner+gripperPOV-84px"),
        (
            dataclasses.replace(PICTURES, image_size=64, state="none", shadows=False),
            "metaworld-drawer-open-20-s0-corner+gripperPOV-64px-nostate-noshadows",
        ),
        (
            dataclasses.replace(PICTURES, shadows=False, reflections=False, antialiasing=False),
            "metaworld-drawer-open-20-s0-corner+gripperPOV-84px-plain",
        ),
    ],
)
def test_names(env, name):
    assert scripted_path(DemoConfig(), env).name == name


def test_every_option_of_the_pictures_is_in_the_name():
    changes = [
        {},
        {"cameras": ("corner",)},
        {"cameras": ("gripperPOV", "corner")},
        {"image_size": 128},
        {"state": "none"},
        {"state": "full"},
        {"shadows": False},
        {"reflections": False},
        {"antialiasing": False},
        {"shadows": False, "antialiasing": False},
    ]
    names = [scripted_path(DemoConfig(), dataclasses.replace(PICTURES, **change)) for change in changes]
    assert all(a != b for a, b in combinations(names, 2))
