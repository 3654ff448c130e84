"""Pages of a demonstration set: what they show is what the set holds, and nothing of it is run."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import http.client
import io
import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from zoomrl.cli.main import main
from zoomrl.control.scaling import ActionScaler
from zoomrl.data.episode import Episode
from zoomrl.demos.store.reader import open_set
from zoomrl.demos.store.writer import write_demos
from zoomrl.demos.view import content, images
from zoomrl.demos.view.content import make_content, shown_steps
from zoomrl.demos.view.grid import Grid
from zoomrl.demos.view.markup import element, embedded
from zoomrl.demos.view.pages import open_pages
from zoomrl.demos.view.server import Viewer
from zoomrl.errors import ConfigError, DemonstrationError, MissingDependencyError
from zoomrl.math import grid as math_grid
from zoomrl.spec import ArraySpec, EnvSpec, StateEntry

HOSTILE = """</script><script>alert(1)</script><img src=x onerror='alert("2")'> " & \u202e \ud800 ]]> <!-- """
"""What a stranger may call anything: it ends elements and attributes, turns the writing, and is no text at its end."""
SPEC = EnvSpec(
    "fake:arm",
    {"state": ArraySpec((11,)), "rgb": ArraySpec((2, 12, 20, 3), "uint8")},
    ArraySpec((3,), "float32", (-1.0, 0.0, -2.0), (1.0, 4.0, 2.0)),
    control_hz=20.0,
    time_limit=50,
    reports_success=True,
    cameras=("front", "wrist"),
    action_meaning=("delta", "absolute", "gripper"),
    state_entries=(StateEntry("joints", 9), StateEntry("goal", 2)),
)


def episode(seed, steps=7, spec=SPEC, **changes):
    random = np.random.default_rng(seed)
    low, high = (np.asarray(bound, np.float32) for bound in (spec.action.low, spec.action.high))
    observations = {
        name: random.integers(0, 256, (steps + 1, *array.shape), np.uint8)
        if array.dtype == "uint8"
        else random.normal(size=(steps + 1, *array.shape)).astype(np.float32)
        for name, array in spec.observations.items()
    }
    actions = random.uniform(low, high, (steps, len(low))).astype(np.float32)
    made = Episode(
        observations,
        actions,
        random.normal(size=steps).astype(np.float32),
        terminated=True,
        truncated=False,
        success=True,
        is_demo=True,
        seed=seed,
        meta={"task": "open the drawer", "noise": 0.5},
        state_entries=spec.state_entries,
    )
    return replace(made, **changes)


@pytest.fixture
def arm(tmp_path):
    """A set of three episodes, the second of which failed."""
    failed = episode(1, success=False, is_demo=False, terminated=False, truncated=True)
    # Beyond what the demonstrations take, which sets the range.
    failed.actions[:2] = SPEC.action.high, SPEC.action.low
    made = [episode(0), failed, episode(2, 9)]
    write_demos(tmp_path / "arm", made, SPEC, meta={"recorded_by": "test"})
    return tmp_path / "arm"


class Parsed(html.parser.HTMLParser):
    """Elements with their attributes, visible text, and the content of scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.scripts, self._within = [], "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._within.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, data):
        within = self._within[-1:]
        if within == ["script"]:
            self.scripts[-1] += data
        elif within != ["style"]:
            self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self):
        return json.loads(self.scripts[0])


def pages_of(folder):
    return {file.name: Parsed(file.read_text("utf-8")) for file in sorted(folder.iterdir())}


# ---- what is shown ----------------------------------------------------------------------------------------


def test_a_page_holds_the_numbers_of_its_episode(arm, tmp_path, capsys):
    assert main(["demos", "view", str(arm), "--out", str(tmp_path / "out")]) == 0
    assert "wrote 3 pages and an index" in capsys.readouterr().out
    pages = pages_of(tmp_path / "out")
    assert list(pages) == ["episode_0.html", "episode_1.html", "episode_2.html", "index.html"]
    with open_set(arm) as source:
        for index in range(3):
            stored, data = source.episode(index), pages[f"episode_{index}.html"].data
            np.testing.assert_allclose(np.array(data["actions"]).T, stored.actions, rtol=1e-6)
            np.testing.assert_allclose(data["rewards"], stored.rewards, rtol=1e-6)
            state = np.array([line for plot in data["observations"] for line in plot["values"]]).T
            np.testing.assert_allclose(state, stored.observations["state"], rtol=1e-6)
            # Nine joints take two plots.
            assert [(plot["name"], len(plot["values"])) for plot in data["observations"]] == [
                ("joints", 8), ("joints", 1), ("goal", 2)
            ]  # fmt: skip
            assert data["at"] == list(range(len(stored) + 1))
            assert (data["steps"], data["hz"]) == (len(stored), 20.0)
    failed, first = pages["episode_1.html"].text, pages["episode_0.html"].text
    for words in ("failed", "not to be imitated", "truncated", "open the drawer", "meta: noise", "action 2 (gripper)"):
        assert words in failed, words
    assert "failed" not in first
    assert f"{episode(0).rewards.sum():.5g}" in first
    index = pages["index.html"]
    for words in ("fake:arm", "joints 9, goal 2", "front, wrist", "3 (2 demonstrations, 2 successful)", "recorded_by"):
        assert words in index.text, words
    assert [link["href"] for link in index.of("a")] == ["episode_0.html", "episode_1.html", "episode_2.html"]


def test_an_assumed_success_is_shown_as_one(tmp_path):
    made = [episode(0), episode(1, meta={"success": "assumed"}), episode(2, success=False, meta={"success": "assumed"})]
    write_demos(tmp_path / "arm", made, SPEC)
    with open_pages(tmp_path / "arm") as pages:
        index, *each = (Parsed(page) for page in (pages.index(str), *(pages.page(n, str) for n in range(3))))
    assert "3 (3 demonstrations, 2 successful, 1 of these assumed)" in index.text
    assert ["success assumed" in page.text for page in each] == [False, True, False]
    assert ["failed" in page.text for page in each] == [False, False, True]


def test_each_image_lies_where_the_script_looks_for_it(arm, monkeypatch):
    monkeypatch.setattr(images, "_SHEET_SIDE", 48)  # two to a row, three rows to a sheet
    monkeypatch.setattr(images, "_QUALITY", 100)
    with open_pages(arm) as pages:
        page, stored = Parsed(pages.page(2, str)), pages.episode(2)
    sheets = [attributes["src"] for attributes in page.of("img")]
    assert len(sheets) == 2 * 2
    for view, camera in enumerate(page.data["cameras"]):
        assert (camera["width"], camera["height"], camera["pitch"]) == (20, 12, [24, 16])
        each = camera["columns"] * camera["rows"]
        for place, frame in enumerate(camera["frames"]):
            kind, _, text = sheets[2 * view + place // each].partition(",")
            assert kind == "data:image/jpeg;base64"
            sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
            top, left = place % each // camera["columns"] * 16, place % camera["columns"] * 24
            shown = sheet[top : top + 12, left : left + 20].astype(int)
            assert abs(shown - stored.observations["rgb"][frame, view]).mean() < 3


def test_noise_can_be_shown():
    """It packs into more than a byte per pixel, where a buffer of Pillow's ends."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 300, 300, 3), np.uint8)
    assert len(images.jpeg(noise[0])) > 300 * 300
    assert images.make_sheets(noise, [0]).data


@pytest.mark.parametrize(("levels", "bins"), [(3, 5), (1, 2), (2, 16), (5, 3)])
@pytest.mark.parametrize("scale", ["env", "demos"])
def test_bins_are_those_of_the_agents_grid(arm, levels, bins, scale):
    with open_pages(arm, levels=levels, bins=bins, scale=scale) as pages:
        stored = [pages.episode(index) for index in range(3)]
        content = [make_content(one, SPEC, pages.grid) for one in stored]
    if scale == "env":
        low, high = SPEC.action.low, SPEC.action.high
    else:
        demonstrated = np.concatenate([one.actions for one in stored if one.is_demo])
        low, high = demonstrated.min(0), demonstrated.max(0)
        # A gripper keeps its bounds.
        low[2], high[2] = -2.0, 2.0
    scaler = ActionScaler(np.float32(low), np.float32(high), SPEC.action)
    for one, shown in zip(stored, content, strict=True):
        unit = torch.as_tensor(scaler.to_unit(one.actions))
        expected = math_grid.encode(unit, levels, bins).numpy()
        np.testing.assert_array_equal(pages.grid.path(shown.cells.T), expected)
        beyond = ((one.actions < scaler.low) | (one.actions > scaler.high)).sum(0)
        assert shown.beyond == tuple(beyond)
    assert bool(sum(content[1].beyond)) == (scale == "demos")


def test_cells_at_the_edges_are_those_of_the_agents_grid():
    edges = np.float32([-1, -0.6, -0.2, 0.2, 0.6, 1])
    values = np.concatenate([edges, np.nextafter(edges, np.float32(-9)), np.nextafter(edges, np.float32(9))])[:, None]
    made = Grid(3, 5, ActionScaler(np.float32([-1]), np.float32([1]), ArraySpec((1,), "float32", (-1.0,), (1.0,))))
    expected = math_grid.to_cell(torch.as_tensor(made.scaler.to_unit(values)), 3, 5)
    np.testing.assert_array_equal(made.to_cells(values), expected.numpy())


def test_long_episodes_and_wide_observations_are_thinned_and_it_is_said(monkeypatch):
    monkeypatch.setattr(content, "MAX_STEPS", 10)
    monkeypatch.setattr(content, "MAX_IMAGES", 4)
    monkeypatch.setattr(content, "MAX_NUMBERS", 10)
    monkeypatch.setattr(content, "MAX_CAMERAS", 1)
    monkeypatch.setattr(content, "MAX_ACTIONS", 2)
    monkeypatch.setattr(images, "MAX_SIDE", 10)
    assert shown_steps(10) == tuple(range(11))
    long = episode(0, 35)
    made = Grid(2, 3, ActionScaler(np.float32(SPEC.action.low), np.float32(SPEC.action.high), SPEC.action))
    shown = make_content(long, SPEC, made)
    assert shown.at == (0, 4, 8, 12, 16, 20, 24, 28, 32, 35)
    np.testing.assert_array_equal(shown.actions, long.actions[::4, :2].T)
    assert shown.rewards.sum() == pytest.approx(long.rewards.sum(dtype=np.float64)), "no reward is lost"
    assert shown.rewards[1] == pytest.approx(long.rewards[4:8].sum(dtype=np.float64))
    assert shown.cameras[0].frames == (0, 3, 6, 9)
    assert (shown.cameras[0].sheets.height, shown.cameras[0].sheets.width) == (6, 10)
    assert sum(len(plot.values) for plot in shown.plots) == 10
    assert shown.said == (
        "every 4th of 35 steps is shown, and the last; rewards are summed between",
        "the first 2 of 3 action dimensions are shown",
        "the first 1 of 2 views are shown",
        "every 3rd step shown has an image of its own; the others show the one before",
        "shrunk to be shown: the images of front",
        "the first 10 of 11 observed numbers are plotted",
    )


def test_a_set_without_images_or_state_or_range_has_pages(tmp_path):
    spec = replace(SPEC, observations={"depth": ArraySpec((2, 3))}, cameras=(), state_entries=(), control_hz=0.0)
    still = episode(0, 1, spec)
    still.actions[:] = 0.5
    write_demos(tmp_path / "odd", [still], replace(spec, action=ArraySpec((3,), "float32", (0.5,) * 3, (0.5,) * 3)))
    with open_pages(tmp_path / "odd") as pages:
        page = Parsed(pages.page(0, str))
    assert "not plotted: depth, float32[2, 3]" in page.text
    assert "has no range" in page.text
    assert not page.of("canvas")


# ---- nothing of it is run ---------------------------------------------------------------------------------


def test_names_and_texts_of_a_stranger_are_shown_and_not_run(tmp_path):
    spec = replace(
        SPEC,
        id=HOSTILE,
        cameras=(HOSTILE, "wrist"),
        rendering=(HOSTILE,),
        action_meaning=(HOSTILE,) * 3,
        reward=HOSTILE,
        state_entries=(StateEntry(HOSTILE, 9), StateEntry("goal", 2)),
    )
    meta = {HOSTILE.replace("\ud800", ""): HOSTILE, "task": HOSTILE, "deep": {"<b>": ["</script>"]}}
    stored = episode(0, spec=spec, meta=meta)
    write_demos(tmp_path / "set", [stored], spec, meta=meta)
    with open_pages(tmp_path / "set") as pages:
        made = [pages.page(0, str), pages.index(str)]
        plain = [Parsed(pages.page(0, str)), Parsed(pages.index(str))]
    for text, page in zip(made, plain, strict=True):
        text.encode()
        assert len(page.scripts) == 2, "the data and the script of the page"
        assert "alert" not in page.scripts[1]
        allowed = set(re.findall(r"'sha256-([^']+)'", page.of("meta")[1]["content"]))
        scripts = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
        assert scripts in allowed, "the page's own rules let its script in"
        for name, attributes in page.elements:
            assert not [key for key in attributes if key.startswith("on") or key == "style"], name
            assert not re.match("(?i)https?:|javascript:|//", attributes.get("src") or attributes.get("href") or "")
        assert "<script>alert(1)</script>" in page.text, "it is shown as it is written"
        assert "\u202e" not in text
    assert [attributes["src"][:5] for attributes in plain[0].of("img")] == ["data:"] * 2
    assert plain[0].data["observations"][0]["name"].startswith("</script><script>")


def test_markup_escapes_what_it_did_not_make():
    assert element("b", "<i>", element("i", "&"), class_='"') == '<b class="&quot;">&lt;i&gt;<i>&amp;</i></b>'
    assert "<" not in embedded({"a": "</script><!--"})
    assert json.loads(embedded({"a": "</script>&"})) == {"a": "</script>&"}
    assert "2,003 characters" in element("b", "x" * 2003)


# ---- the command ------------------------------------------------------------------------------------------


def test_episodes_are_chosen_and_linked(arm, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["demos", "view", str(arm), "--out", str(out), "--episodes", "2", "0", "--range", "demos"]) == 0
    pages = pages_of(out)
    assert list(pages) == ["episode_0.html", "episode_2.html", "index.html"]
    assert [(link.get("rel"), link["href"]) for link in pages["episode_2.html"].of("a")] == [
        ("prev", "episode_0.html"), (None, "index.html")
    ]  # fmt: skip
    assert "2 of 3 episodes have a page" in pages["index.html"].text
    assert "125 cells, over the range of the demonstrations" in pages["episode_2.html"].text
    assert main(["demos", "view", str(arm), "--out", str(out)]) == 1
    assert "already holds pages" in capsys.readouterr().err
    (out / "notes.html").write_text("mine")
    assert main(["demos", "view", str(arm), "--out", str(out), "--episodes", "1", "--overwrite"]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["episode_1.html", "index.html", "notes.html"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--episodes", "3"], "the set holds the episodes 0 to 2; there is no 3"),
        (["--bins", "1"], "at least 1 level and 2 bins"),
        (["--levels", "99999999", "--bins", "9"], "at most 100 bins and 1,000,000 cells"),
        (["--port", "70000"], "--port must be"),
        (["--overwrite"], "--overwrite belongs to"),
        (["--out", "x", "--open"], "belong to pages that are served"),
    ],
)
def test_what_cannot_be_shown_is_said(arm, words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demos", "view", str(arm), *words]) == 2
    assert said in capsys.readouterr().err


def test_of_a_damaged_set_the_rest_is_shown(arm, tmp_path, capsys):
    import h5py

    metadata = json.loads((arm / "data/metadata.json").read_text())
    for key in ("zoomrl_main_data", "digest"):
        del metadata[key]
    metadata["total_episodes"] = 10**12
    (arm / "data/metadata.json").write_text(json.dumps(metadata))
    with h5py.File(arm / "data/main_data.hdf5", "a") as file:
        del file["episode_1/actions"]
        del file["episode_2"]
    assert main(["demos", "view", str(arm), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "episode 1 cannot be read" in error
    assert "999,999,999,998 of 1,000,000,000,000 episodes are missing" in error
    pages = pages_of(tmp_path / "out")
    assert list(pages) == ["episode_0.html", "index.html"]
    assert "1 cannot be read" in pages["index.html"].text
    assert "episode 1 cannot be read" in pages["index.html"].text


# ---- the server -------------------------------------------------------------------------------------------


def ask(viewer, path, method="GET", **headers):
    port = int(re.search(r":(\d+)/", viewer.address)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body, answer.headers


def test_pages_are_served_to_who_knows_the_token(arm, monkeypatch):
    def broken(index, link):
        raise OSError("<b>disk</b>")

    with open_pages(arm, episodes=(0, 2)) as pages:
        viewer = Viewer(pages)
        try:
            token = viewer.address.partition("?")[2]
            for wrong in ("", "?token=", "?token=x", f"?{token}x"):
                status, body, _ = ask(viewer, f"/episode_0.html{wrong}")
                assert (status, "fake:arm" in body) == (403, False)
            assert ask(viewer, f"/?{token}", Host="evil.example")[0] == 403
            status, body, headers = ask(viewer, f"/?{token}")
            assert (status, headers["Referrer-Policy"], headers["Cache-Control"]) == (200, "no-referrer", "no-store")
            assert [link["href"] for link in Parsed(body).of("a")] == [
                f"episode_{index}.html?{token}" for index in (0, 2)
            ]
            status, body, _ = ask(viewer, f"/episode_2.html?{token}")
            assert (status, Parsed(body).data["steps"]) == (200, 9)
            for path in ("/episode_1.html", "/episode_-1.html", "/episode_3.html", "/../x", "/page.py"):
                assert ask(viewer, f"{path}?{token}")[0] == 404, path
            assert ask(viewer, f"/?{token}", "POST")[0] == 404
            monkeypatch.setattr(pages, "page", broken)
            status, body, _ = ask(viewer, f"/episode_2.html?{token}")
            assert (status, body) == (500, "episode 2 cannot be shown: <b>disk</b>")
        finally:
            viewer.close()


@pytest.mark.long
def test_the_command_serves_until_it_is_interrupted(arm):
    command = [sys.executable, "-m", "zoomrl", "demos", "view", str(arm)]

    def listen() -> None:  # a shell starts what runs in the background with this signal turned off
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, preexec_fn=listen, **pipes)
    try:
        address = re.search(r"http://127\.0\.0\.1:(\d+)(/\?token=\S+)", process.stdout.readline())
        connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=60)
        connection.request("GET", address[2])
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert out.endswith("stopped\n")
    finally:
        process.kill()
        process.wait()


# ---- rerun ------------------------------------------------------------------------------------------------


def test_a_recording_asks_for_its_extra(arm, tmp_path, monkeypatch):
    from zoomrl.demos.view.rerun import write_rrd

    monkeypatch.setitem(sys.modules, "rerun", None)
    with open_pages(arm) as pages, pytest.raises(MissingDependencyError, match=r"zoomrl\[rerun\]"):
        write_rrd(pages, tmp_path / "arm.rrd")
    assert not (tmp_path / "arm.rrd").exists()


@pytest.mark.skipif(find_spec("rerun") is None, reason="rerun-sdk is not installed (extra zoomrl[rerun])")
def test_a_recording_is_written(arm, tmp_path, capsys):
    file = tmp_path / "arm.rrd"
    assert main(["demos", "view", str(arm), "--rrd", str(file), "--episodes", "1"]) == 0
    data = file.read_bytes()
    assert data[:3] == b"RRF"
    for name in (b"episode_1/state/joints", b"episode_1/camera/wrist", b"episode_1/success"):
        assert name in data, name
    assert main(["demos", "view", str(arm), "--rrd", str(file)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert list(tmp_path.glob(".*.tmp")) == []


def test_without_bounds_there_is_no_grid(tmp_path):
    unbounded = replace(SPEC, action=ArraySpec((3,)))
    write_demos(tmp_path / "set", [episode(0)], unbounded)
    with pytest.raises(DemonstrationError, match="declares no action bounds"), open_pages(tmp_path / "set"):
        pass
    with pytest.raises(ConfigError):
        Grid(0, 5, ActionScaler(np.zeros(1), np.ones(1), SPEC.action))
