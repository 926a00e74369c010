"""Result files and folders of shards whose arrays stay on the disk until they are read."""

from __future__ import annotations

import collections.abc
import itertools
import json
import os

import numpy as np

from ._native import _merge, _paths
from ._tables import imported, pandas_frame, polars_frame


def open_results(path):
    """Opens a result file (.safetensors) or a folder of shards without reading its arrays: they are numpy memory maps.

    A file is a mapping from names to arrays, with `axes_of(name)`, `metadata`, `to_pandas(name)` and `to_polars(name)`.
    A folder is a sequence of such mappings, one for each prompt in the order of the set, with `prompts` (their names),
    `left_out`, the tables of all prompts, `tables(name)`, which has those of one shard at a time, and `merge(out)`.
    """
    return MappedShards(path) if os.path.isdir(path) else MappedResult._of_file(os.fspath(path))


class MappedResult(collections.abc.Mapping):
    """Arrays of a file by their names, as memory maps."""

    def __init__(self, path, entries, metadata, axes):
        self._path, self._entries, self.metadata, self._axes = path, entries, metadata, axes

    @classmethod
    def _of_file(cls, path):
        entries, metadata = _header(path)
        axes = {key[5:]: tuple(value.split(",")) for key, value in metadata.items() if key.startswith("axes.")}
        return cls(path, entries, metadata, axes)

    def __getitem__(self, name):
        if name not in self._entries:
            raise KeyError(f"no array `{name}`; there are {', '.join(self._entries)}")
        at, shape = self._entries[name]
        if 0 in shape:
            return np.zeros(shape, np.float32)
        return np.memmap(self._path, np.dtype("<f4"), "r", at, shape)

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)

    def axes_of(self, name):
        """The names of an array's axes, outermost first."""
        return self._axes[name]

    def to_pandas(self, name):
        """Returns a table with a row for each number of an array, and its axes as the index.

        It has a column for each array with these axes.
        """
        return pandas_frame(self, name)

    def to_polars(self, name):
        """Returns the same table of Polars, with a column for each axis."""
        return polars_frame(self, name)


class MappedShards(collections.abc.Sequence):
    """The prompts of a folder of shards, each with its own arrays. Shards are opened when they are asked for."""

    def __init__(self, folder):
        self._folder = os.fspath(folder)
        paths = [os.fspath(path) for path in _paths(self._folder)]
        absent = [n for n, path in enumerate(paths) if not os.path.exists(path)]
        if absent:
            shown = ", ".join(map(str, absent[:8]))
            raise FileNotFoundError(
                f"{self._folder}: {len(absent)} of {len(paths)} shards are missing: {shown}; compute them first"
            )
        self.prompts, self.left_out, self._where = [], [], []
        for path in paths:
            about = json.loads(_header(path)[1]["prompts"])
            self.left_out += json.loads(_header(path)[1].get("left_out", "[]"))
            for n, prompt in enumerate(about):
                self.prompts.append(prompt["name"])
                self._where.append((path, n))

    def __len__(self):
        return len(self._where)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        path, n = self._where[index]
        entries, metadata = _header(path)
        own = f"{n}."
        axes = {
            key[5 + len(own) :]: tuple(value.split(","))
            for key, value in metadata.items()
            if key.startswith("axes." + own)
        }
        arrays = {name[len(own) :]: entry for name, entry in entries.items() if name.startswith(own)}
        return MappedResult(path, arrays, json.loads(metadata["prompts"])[n]["metadata"], axes)

    def to_pandas(self, name):
        """The tables of all prompts as one, with the prompt's number as the first level of the index.

        All numbers are read; `tables` reads those of one shard at a time.
        """
        return imported("pandas", "to_pandas").concat(list(self.tables(name)))

    def to_polars(self, name):
        """The tables of all prompts as one of Polars, with the prompt's number as the first column."""
        return imported("polars", "to_polars").concat(list(self.tables(name, polars=True)))

    def tables(self, name, *, polars=False):
        """Iterates over tables as those of `to_pandas`, or of `to_polars`, each with the prompts of one shard.

        A shard whose prompts were all left out has no table. Memory has one table at a time.
        """
        package = imported("polars", "tables") if polars else imported("pandas", "tables")
        for _, prompts in itertools.groupby(range(len(self)), key=lambda prompt: self._where[prompt][0]):
            numbers = list(prompts)
            if polars:
                frames = [polars_frame(self[n], name).insert_column(0, package.lit(n).alias("prompt")) for n in numbers]
                yield package.concat(frames)
            else:
                frames = [pandas_frame(self[n], name) for n in numbers]
                yield package.concat(frames, keys=numbers, names=["prompt"])

    def merge(self, out):
        """Joins the shards into a result file: the bytes that one process would have written."""
        _merge(self._folder, os.fspath(out))


def _header(path):
    """The places and shapes of the arrays of a safetensors file, in their order, and its metadata."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > os.path.getsize(path):
            raise ValueError(f"{path}: is not a result file; give a .safetensors file of a result")
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise ValueError(f"{path}: is not a result file; give a .safetensors file of a result") from None
    metadata = header.pop("__metadata__", {})
    places = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    return {name: (8 + length + entry["data_offsets"][0], tuple(entry["shape"])) for name, entry in places}, metadata
