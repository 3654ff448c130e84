"""Files that carry their own hash: a changed bit anywhere is noticed, and other programs still read them."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoomrl.errors import CheckpointError, DamagedFileError
from zoomrl.files import read_json, write_atomically, write_json
from zoomrl.seal import check_archive, seal_archive, sealed, unsealed


def checkpoint(path, seal=True):
    def write(file):
        torch.save({"weights": torch.arange(60.0), "steps": 3}, file)
        if seal:
            seal_archive(file)

    write_atomically(path, write)
    return path


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_sealed_files_are_read_by_their_own_libraries(tmp_path):
    assert torch.load(checkpoint(tmp_path / "a.pt"), weights_only=True)["steps"] == 3
    path = tmp_path / "a.npz"
    write_atomically(path, lambda file: (np.savez(file, x=np.arange(9)), seal_archive(file)))
    assert np.load(path)["x"].sum() == 36
    assert len(check_archive(path)) == 64
    write_json(tmp_path / "a.json", {"b": [1.5, None]})
    assert json.loads((tmp_path / "a.json").read_text())["b"] == [1.5, None]
    assert read_json(tmp_path / "a.json") == {"b": [1.5, None]}


def test_every_bit_of_sealed_json_counts(tmp_path):
    path = tmp_path / "config.json"
    write_json(path, {"lr": 1e-5, "name": "e", "sizes": [1, True]})
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        path.write_bytes(flipped(content, bit))
        with pytest.raises(CheckpointError, match=r"config\.json"):
            read_json(path)


@given(
    st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.floats(allow_nan=False)), min_size=1)
)
def test_a_seal_comes_off_as_it_was_put_on(data):
    text = json.dumps(data, indent=2) + "\n"
    assert unsealed(sealed(text).encode(), "x") == text.encode()
    assert unsealed(text.encode(), "x") == text.encode()


def test_a_file_whose_seal_was_taken_out_as_the_message_says_is_read(tmp_path):
    """The comma before the line stays."""
    path = tmp_path / "config.json"
    write_json(path, {"steps": 5, "seed": 1})
    lines = path.read_text().replace("5", "6").splitlines(keepends=True)
    path.write_text("".join(lines))
    with pytest.raises(CheckpointError, match="remove that line"):
        read_json(path)
    path.write_text("".join(line for line in lines if '"digest"' not in line))
    assert read_json(path) == {"steps": 6, "seed": 1}


def test_bits_of_a_sealed_archive_count_wherever_they_are(tmp_path):
    path = checkpoint(tmp_path / "step.pt")
    content = path.read_bytes()
    random = np.random.default_rng(0)
    # All of the seal itself, and some of the rest: names, padding, weights, directory.
    for bit in [*random.integers(8 * len(content), size=400), *range(8 * (len(content) - 100), 8 * len(content))]:
        path.write_bytes(flipped(content, int(bit)))
        with pytest.raises(DamagedFileError, match=r"step\.pt"):
            check_archive(path)
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(DamagedFileError):
            check_archive(path)


def test_an_archive_of_an_earlier_version_is_checked_by_its_own_checksums(tmp_path):
    path = checkpoint(tmp_path / "step.pt", seal=False)
    assert check_archive(path) == ""
    content = path.read_bytes()
    weights = content.index(torch.arange(60.0).numpy().tobytes())
    for bit in range(8 * weights, 8 * (weights + 240), 7):
        path.write_bytes(flipped(content, bit))
        with pytest.raises(DamagedFileError):
            check_archive(path)
