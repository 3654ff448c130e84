"""The page about runs: what stands on it, that it needs nothing else, and that names of strangers do no harm."""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from zoomrl import preset
from zoomrl.analysis import report as page
from zoomrl.analysis.report import report
from zoomrl.cli.main import main
from zoomrl.errors import CheckpointError
from zoomrl.files import write_json
from zoomrl.training.rows import sealed_row


def run_of(place: Path, seed: int, rate: float | None, *, video: bool = False, lost: int = 0, **options) -> Path:
    """A run, as far as a page reads it; ``rate`` None is one that goes on."""
    config = preset("cqn_as-metaworld", **options)
    place.mkdir(parents=True)
    write_json(place / "config.json", dataclasses.replace(config, seed=seed).to_dict())
    about = {"spec": {"reports_success": True}, "zoomrl": "0.1", "torch": "2.13", "demos_sha256": "abcdef0123456789"}
    write_json(place / "policy.json", about)
    rows = [
        {"kind": "train", "env_steps": s, "updates": s // 2, "loss": 1 / s, "critic_loss": 2 / s, "updates_per_s": 3.0}
        | {"episodes_lost": lost, "seconds": float(s)}
        for s in (100, 200)
    ]
    rows += [
        {"kind": "eval", "env_steps": s, "updates": s, "episodes": 4, "success_rate": s / 400}
        | {"success_low": 0.0, "success_high": 1.0, "successes": [False] * 4}
        for s in (0, 200)
    ]
    if rate is not None:
        made = [index < round(rate * 50) for index in range(50)]
        final = {"kind": "final", "env_steps": 200, "updates": 100, "episodes": 50, "success_rate": rate}
        final |= {"success_low": 0.1, "success_high": 0.9}
        rows.append(final | {"return_mean": 2 * rate, "successes": made})
        write_json(place / "result.json", {"env_steps": 200, "training_seconds": 70.0, "video_problem": "no renderer"})
    (place / "metrics.jsonl").write_text("".join(f"{sealed_row(row)}\n" for row in rows))
    if video:
        import imageio.v3 as imageio

        imageio.imwrite(place / "video.mp4", np.full((4, 32, 32, 3), 200, np.uint8), fps=4)
    return place


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """Two seeds of two experiments on a task, one of another that goes on, and one that failed."""
    folder = tmp_path_factory.mktemp("reported") / "sweep"
    for seed in (1, 2):
        run_of(folder / "runs" / f"a-s{seed}", seed, 0.5 + 0.2 * seed, video=seed == 1)
        run_of(folder / "runs" / f"b-s{seed}", seed, 0.3, lost=seed - 1, agent="cqn", **{"agent.lr": 5e-4})
    run_of(folder / "runs" / "<script>alert(1)<", 1, None, env="metaworld:hammer")
    (folder / "failed").mkdir()
    write_json(folder / "failed" / "b-s2.json", {"message": "it broke & burnt"})
    write_json(folder / "failed" / "never.json", {"message": "no set"})
    (folder / "sweep.json").touch()
    return folder


def visible(text: str) -> str:
    """What a reader sees: without the data of images, and without tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r'"data:[^"]*"', '""', text.partition("</style>")[2])))


def test_a_page_of_several_experiments(sweep, tmp_path):
    path = report([sweep], tmp_path / "deep" / "a.html", table=tmp_path / "a.csv")
    text = path.read_text()
    seen = visible(text)
    assert "5 runs of 3 experiments" in seen
    for heading in ("Results", "Learning curves", "What differs", "Failures", "Videos", "Provenance"):
        assert f" {heading} " in seen
    assert "Losses and speed" not in seen
    # 35 and 45 of 50: over all episodes, with the range of the seeds.
    assert "80.0% (71.1% to 86.7%; seeds 70% to 90%)" in seen
    assert "1 min 10 s" in seen
    assert "agent.lr" in seen
    assert "0.0005" in seen
    assert "1 episode lost: the simulator showed NaN, or its worker died" in seen
    assert "failed: it broke &amp; burnt" in seen
    assert "never failed: no set" in seen
    assert "not at its end: step 200 of" in seen
    assert "no video: no renderer" in seen
    assert "0 of 1 finished" in seen
    assert "abcdef012345" in seen
    # One figure for each task, each for a white and a dark page; one video.
    assert text.count("data:image/svg+xml") == 2 * 2
    assert text.count("data:video/mp4") == 1
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [row["seed"] for row in rows] == ["1", "1", "2", "1", "2"]
    assert rows[1]["success_rate"] == "0.7"
    assert rows[0]["success_rate"] == ""


def test_it_needs_nothing_else_and_strangers_names_do_no_harm(sweep, tmp_path):
    text = report([sweep], tmp_path / "a.html").read_text()
    assert not re.search(r'(src|href|srcset)="(?!data:)', text)
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;" in text
    assert "default-src 'none'" in text
    assert "@import" not in text


def test_a_page_of_one_run_shows_its_losses(sweep, tmp_path):
    text = report([sweep / "runs" / "a-s1"], tmp_path / "a.html").read_text()
    assert "Losses and speed" in visible(text)
    # The curve, the loss, the critic's, the speed.
    assert text.count("data:image/svg+xml") == 2 * 4
    assert "What differs" not in visible(text)


@pytest.mark.slow
def test_videos_beyond_the_limit_show_their_first_image(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "MOST_VIDEO", 10)
    text = report([sweep], tmp_path / "a.html").read_text()
    assert text.count("data:video/mp4") == 0
    assert text.count("data:image/jpeg") == 1
    (sweep / "runs" / "a-s2" / "video.mp4").write_bytes(b"none")
    try:
        assert report([sweep], tmp_path / "b.html").read_text().count("data:image/jpeg") == 1
    finally:
        (sweep / "runs" / "a-s2" / "video.mp4").unlink()


def test_a_run_is_found_from_the_folder_that_holds_it(sweep, tmp_path, monkeypatch):
    for folder, name in ((sweep / "runs", "a-s1"), (sweep / "runs" / "a-s1", ".")):
        monkeypatch.chdir(folder)
        assert report([Path(name)], tmp_path / "a.html").exists()


def test_the_command_writes_both(sweep, tmp_path, capsys):
    out = tmp_path / "r.html"
    assert main(["report", str(sweep), "--out", str(out), "--csv", str(tmp_path / "r.csv")]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert out.stat().st_size > 10_000
    assert main(["report"]) == 2
    assert "needs at least one run directory" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="holds no runs"):
        report([tmp_path / "nothing"], out)
