"""JSON with limits, and files that are written whole or not at all."""

import json
import os
from dataclasses import dataclass

import pytest

from zoomrl.errors import CheckpointError, DemonstrationError
from zoomrl.files import MAX_JSON_DEPTH, depth, read_json, read_record, write_atomically, write_json


@dataclass(frozen=True)
class Record:
    name: str
    sizes: tuple[int, ...]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no JSON"),
        (b'{"a": 1', "no JSON"),
        (b'\xff\xfe{"a": 1}', "no JSON"),
        (b"[1]", "must hold a JSON object, got list"),
        (b'{"a": NaN}', "NaN is no JSON value"),
        (b'{"a": 1e999}', "1e999 is no finite number"),
        (b'{"a": -1.5e400}', "-1.5e400 is no finite number"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deeply"),
        (b'{"a": ' + b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH + b"}", "deeper than"),
    ],
)
def test_a_file_that_is_no_json_object_is_named(tmp_path, content, said):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{path}.*{said}.*do this"):
        read_json(path, hint="do this")


def test_what_is_no_small_regular_file_is_refused_unread(tmp_path):
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    large.write_text(json.dumps({"a": "b" * 1000}))
    with pytest.raises(DemonstrationError, match="no regular file"):
        read_json(pipe, error=DemonstrationError)
    with pytest.raises(CheckpointError, match=r"no regular file|Is a directory"):
        read_json(tmp_path)
    with pytest.raises(CheckpointError, match=r"1,009 bytes; 1,000 are read"):
        read_json(large, max_bytes=1000)
    with pytest.raises(CheckpointError, match="gone is missing"):
        read_json(tmp_path / "gone")


def test_a_record_says_what_is_missing_or_of_another_type(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, {"name": "a", "sizes": [1, 2], "newer": 3})
    assert read_record(path, Record) == Record("a", (1, 2))
    for data, said in (({"sizes": [1]}, "name"), ({"name": 1, "sizes": [1]}, "name"), ({"name": "a", "sizes": 3}, "")):
        write_json(path, data)
        with pytest.raises(CheckpointError, match=rf"record\.json does not hold what it should.*{said}"):
            read_record(path, Record)


def test_depth_counts_levels():
    assert [depth(data, 9) for data in (1, {}, {"a": 1}, {"a": [1, {"b": []}]})] == [0, 1, 1, 4]


def test_nan_is_never_written_and_nothing_stays_behind(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})

    def breaking(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"result\.json") as caught:
        write_atomically(path, breaking)
    assert caught.value.errno == 28
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
