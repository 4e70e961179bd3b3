"""Data sets for the task `huggingface`: made here, in every form that is read."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from genac_bridge.functions import hub_data

datasets.disable_progress_bars()

OPTIONS: dict[str, Any] = {
    "local": True,
    "configuration": None,
    "split": "train",
    "revision": None,
    "streaming": False,
}


def opened(data: str | list[str], **changes: Any) -> dict[str, Any]:
    return hub_data.open_data(data, **{**OPTIONS, **changes})


@pytest.fixture(autouse=True)
def _afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    hub_data._loaded.clear()
    hub_data._streams.clear()
    yield
    hub_data._loaded.clear()
    hub_data._streams.clear()


def lines(path: Path, count: int) -> str:
    path.write_text(
        "".join(json.dumps({"prompt": f"p{i}", "answer": i}) + "\n" for i in range(count))
    )
    return str(path)


def test_a_set_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = lines(tmp_path / "a.jsonl", 3)
    first = opened(file)
    assert first == {
        "handle": first["handle"],
        "rows": 3,
        "columns": {"prompt": None, "answer": None},
    }

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError("loaded twice")

    monkeypatch.setattr(datasets, "load_dataset", again)
    assert opened(file) == first
    assert hub_data.rows(first["handle"], [2, 0], ["answer"]) == {
        "rows": [{"answer": 2}, {"answer": 0}],
        "bad": [],
    }


def test_compressed_and_tab_separated_files(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write('{"prompt": "zipped"}\n')
    (tmp_path / "a.tsv").write_text("prompt\tanswer\nfrom a table\t1\n")
    for name, expected in (("a.jsonl.gz", "zipped"), ("a.tsv", "from a table")):
        handle = opened(str(tmp_path / name))["handle"]
        assert hub_data.rows(handle, [0], ["prompt"])["rows"] == [{"prompt": expected}]


def test_a_value_that_json_has_no_word_for_costs_its_row_alone() -> None:
    given = [{"a": 1}, {"a": [float("nan")]}, {"a": "x"}, {"a": 2**60}]
    answer = hub_data.plain_rows(given)
    assert answer["rows"] == [{"a": 1}, None, {"a": "x"}, None]
    assert [place for place, _ in answer["bad"]] == [1, 3]
    assert answer["bad"][0][1] == "column 'a'[0] is nan, which JSON has no word for"


def test_words_of_a_table_are_words(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,answer\np,None\np,NA\np,null\np,\n")
    handle = opened(str(tmp_path / "a.csv"))["handle"]
    rows = hub_data.rows(handle, [0, 1, 2, 3], ["answer"])["rows"]
    assert [row["answer"] for row in rows] == ["None", "NA", "null", None]


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        (datasets.Value("string"), None),
        (datasets.Value("float32"), None),
        (datasets.Value("timestamp[us]"), None),
        (datasets.ClassLabel(names=["a"]), None),
        (datasets.List(datasets.Value("int8")), None),
        ({"a": datasets.Value("bool"), "b": [datasets.Value("date32")]}, None),
        (datasets.Value("binary"), "binary"),
        (datasets.Value("decimal128(5, 2)"), "decimal128(5, 2)"),
        (datasets.Value("duration[s]"), "duration[s]"),
        (datasets.Image(), "Image"),
        (datasets.List({"a": datasets.Audio()}), "Audio"),
        (datasets.Array2D((2, 2), "int8"), "Array2D"),
    ],
)
def test_types_without_a_place_in_json_are_named(feature: Any, expected: str | None) -> None:
    assert hub_data.unplain(feature) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"x", "builtins.bytes"),
        ({"a": [float("nan")]}, r"w\['a'\]\[0\] is nan"),
        (2**60, "too large"),
        (decimal.Decimal(1), "decimal.Decimal"),
    ],
)
def test_values_without_a_place_in_json_are_named(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        hub_data.plain(value, "w")


def test_dates_become_text() -> None:
    value = {"at": [datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 1, 2, 3)], "n": 1}
    assert hub_data.plain(value, "w") == {"at": ["2024-02-29", "2024-02-29T01:02:03"], "n": 1}


def stream(
    handle: str, reader: str, first: int, count: int, seed: int = 1, buffer: int | None = 4
) -> list[str]:
    answer = hub_data.stream(handle, reader, seed, buffer, first, count, ["prompt"])
    return [row["prompt"] for row in answer["rows"]]


def test_a_stream_is_the_same_however_it_is_read(tmp_path: Path) -> None:
    handle = opened(lines(tmp_path / "a.jsonl", 20), streaming=True)["handle"]
    everything = stream(handle, "a", 0, 100)
    assert sorted(everything, key=lambda p: int(p[1:])) == [f"p{i}" for i in range(20)]
    pieces = [stream(handle, "b", first, 7) for first in (0, 7, 14)]
    assert [p for piece in pieces for p in piece] == everything
    # Forward over a gap, back to the start, at and beyond the end; readers do not disturb each
    # other.
    assert stream(handle, "b", 3, 2) == everything[3:5]
    assert stream(handle, "a", 9, 2) == everything[9:11]
    assert stream(handle, "b", 5, 2) == everything[5:7]
    assert stream(handle, "b", 20, 2) == []
    assert stream(handle, "c", 0, 100, seed=2) != everything
    assert stream(handle, "c", 0, 3, buffer=None, seed=3) == ["p0", "p1", "p2"]


def test_a_failure_in_a_stream_is_told_and_the_next_call_begins_again(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    lines(file, 3)
    handle = opened(str(file), streaming=True)["handle"]
    file.write_text('{"prompt": "a"}\n{"prompt":\n')
    answer = hub_data.stream(handle, "a", 0, None, 0, 9, None)
    assert answer["problem"].startswith("reading the stream failed at row 0 or after it: ")
    lines(file, 3)
    assert stream(handle, "a", 0, 9, buffer=None) == ["p0", "p1", "p2"]


def test_what_can_not_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    for data, words in (
        (str(tmp_path / "a.txt"), "files that end with ['.txt'] can't be read"),
        (str(tmp_path / "none.parquet"), "none.parquet' can't be loaded: "),
    ):
        problem = opened(data)["problem"]
        assert words in problem
        assert "\n" not in problem
