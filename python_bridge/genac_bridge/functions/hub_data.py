"""Rows of data sets for the task `huggingface`: the Hub's, folders and files, through the package
`datasets`.

What a user can get wrong comes back as `{"problem": text}`, one sentence without a traceback.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

from .call import plain_json

#: File endings and the builder of `datasets` that reads them; compressed files end with `.gz`
#: beside.
BUILDERS = {
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".arrow": "arrow",
}
#: Scalar types of columns that have a place in JSON; dates and times become ISO text.
PLAIN = (
    "string",
    "large_string",
    "string_view",
    "bool",
    "int",
    "uint",
    "float",
    "null",
    "timestamp",
    "date",
)

#: Data sets by their arguments: none is loaded twice.
_loaded: dict[str, Any] = {}
#: For each (handle, reader) of a stream: its seed, its position, and what comes next.
_streams: dict[tuple[str, str], tuple[int, int, Iterator[dict[str, Any]]]] = {}


class Unusable(Exception):
    """An error of the user; its text says what to do."""


def open_data(
    data: str | list[str],
    local: bool,
    configuration: str | None,
    split: str,
    revision: str | None,
    streaming: bool,
) -> dict[str, Any]:
    """Loads a data set, once. Answers with its handle, its number of rows (null: streamed) and its
    columns (null: not known), each with the type that
    has no place in JSON, or null."""
    handle = json.dumps([data, configuration, split, revision, streaming])
    try:
        if handle not in _loaded:
            _loaded[handle] = _load(data, local, configuration, split, revision, streaming)
    except Unusable as error:
        return {"problem": str(error)}
    loaded = _loaded[handle]
    columns = (
        None
        if loaded.features is None
        else {name: unplain(kind) for name, kind in loaded.features.items()}
    )
    return {"handle": handle, "rows": None if streaming else len(loaded), "columns": columns}


def rows(handle: str, indices: list[int], columns: list[str]) -> dict[str, Any]:
    """These columns of the rows with these indices, and why some are no rows (`plain_rows`)."""
    batch = _loaded[handle].select_columns(columns)[indices]
    return plain_rows(
        [{name: batch[name][place] for name in columns} for place in range(len(indices))]
    )


def stream(
    handle: str,
    reader: str,
    seed: int,
    buffer: int | None,
    first: int,
    count: int,
    columns: list[str] | None,
) -> dict[str, Any]:
    """Returns rows number `first` .. `first + count - 1` of the stream that `seed` shuffles, fewer
    at its end, and why some are no rows (`plain_rows`). A reader that goes forward reads each row
    once; one that goes back begins again.
    """
    key = (handle, reader)
    known = _streams.get(key)
    if known is None or known[0] != seed or known[1] > first:
        data = _loaded[handle]
        known = (
            seed,
            0,
            iter(data if buffer is None else data.shuffle(seed=seed, buffer_size=buffer)),
        )
    _, position, iterator = known
    # After a failure the position of the iterator is unknown: the next call begins again.
    _streams.pop(key, None)
    try:
        for _ in itertools.islice(iterator, first - position):
            pass
        taken = list(itertools.islice(iterator, count))
    except Exception as error:
        return {"problem": f"reading the stream failed at row {first} or after it: {reason(error)}"}
    _streams[key] = (seed, first + len(taken), iterator)
    return plain_rows(
        [
            {name: value for name, value in row.items() if columns is None or name in columns}
            for row in taken
        ]
    )


def plain_rows(given: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns `rows`, each as plain JSON, or null where a value has no place in it, and `bad`: the
    places of these with what is wrong.
    """
    answer: list[dict[str, Any] | None] = []
    bad: list[tuple[int, str]] = []
    for place, row in enumerate(given):
        try:
            answer.append({name: plain(value, f"column {name!r}") for name, value in row.items()})
        except ValueError as error:
            answer.append(None)
            bad.append((place, str(error)))
    return {"rows": answer, "bad": bad}


def plain(value: Any, where: str) -> Any:
    """Returns `value` as plain JSON, dates and times as ISO text.

    Raises `ValueError` that names the place and the type of what is not.
    """
    return plain_json(_with_iso_dates(value), where)


def _with_iso_dates(value: Any) -> Any:
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_with_iso_dates(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_iso_dates(item) for key, item in value.items()}
    return value


def unplain(feature: Any) -> str | None:
    """Returns the type within a column that has no place in JSON (an image, bytes, a decimal);
    null: there is none.
    """
    if isinstance(feature, dict):
        return next(filter(None, map(unplain, feature.values())), None)
    if isinstance(feature, list | tuple):
        return next(filter(None, map(unplain, feature)), None)
    inner = getattr(feature, "feature", None)
    if inner is not None:
        return unplain(inner)
    kind = type(feature).__name__
    if kind in ("ClassLabel", "Json"):
        return None
    dtype = str(getattr(feature, "dtype", kind))
    return (
        None if kind == "Value" and dtype.startswith(PLAIN) else dtype if kind == "Value" else kind
    )


def _load(
    data: str | list[str],
    local: bool,
    configuration: str | None,
    split: str,
    revision: str | None,
    streaming: bool,
) -> Any:
    try:
        import datasets
    except ImportError:
        raise Unusable(
            "the task huggingface needs the Python package datasets: pip install "
            "'genac_bridge[data]'"
        ) from None
    datasets.disable_progress_bars()
    shown = data if isinstance(data, str) else ", ".join(data)
    try:
        if local and isinstance(data, str) and os.path.isdir(data):
            if any(
                os.path.isfile(os.path.join(data, name))
                for name in ("dataset_dict.json", "state.json")
            ):
                return _from_disk(datasets, data, split, streaming)
            return datasets.load_dataset(data, configuration, split=split, streaming=streaming)
        if local:
            files = [data] if isinstance(data, str) else data
            builder, more = builder_of(files)
            return datasets.load_dataset(
                builder, data_files=files, split=split, streaming=streaming, **more
            )
        return datasets.load_dataset(
            data, configuration, split=split, revision=revision, streaming=streaming
        )
    except Unusable:
        raise
    except Exception as error:
        unreachable = not local and isinstance(error, ConnectionError)
        advice = (
            "; check the name and the network, or name a local folder (./...)"
            if unreachable
            else ""
        )
        raise Unusable(f"{shown!r} can't be loaded: {reason(error)}{advice}") from error


def _from_disk(datasets: Any, folder: str, split: str, streaming: bool) -> Any:
    """Returns what `save_to_disk` wrote: one split, or several by name."""
    saved = datasets.load_from_disk(folder)
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise Unusable(f"{folder!r} has no split {split!r}; it has {sorted(saved)}")
        saved = saved[split]
    return saved.to_iterable_dataset() if streaming else saved


def builder_of(files: list[str]) -> tuple[str, dict[str, Any]]:
    """Returns the builder that reads all of these files, and its options."""
    endings = {os.path.splitext(name.removesuffix(".gz"))[1].lower() for name in files}
    builders = {BUILDERS.get(ending) for ending in endings}
    builder = next(iter(builders))
    if len(builders) != 1 or len(endings) != 1 or builder is None:
        raise Unusable(
            f"files that end with {sorted(endings)} can't be read; one kind of {sorted(BUILDERS)} "
            "can"
        )
    if builder != "csv":
        return builder, {}
    # "None" and "NA" are answers. An empty cell is none.
    text = {"keep_default_na": False, "na_values": [""]}
    return builder, text | ({"delimiter": "\t"} if endings == {".tsv"} else {})


def reason(error: BaseException) -> str:
    """Returns one line of the first cause, which `datasets` wraps in a general sentence."""
    while error.__cause__ is not None and type(error).__name__ == "DatasetGenerationError":
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
