"""All data sets by name: load one, list them, fetch their files."""

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from jaxgnn.data import heterophilous, planetoid
from jaxgnn.data.dataset import Dataset
from jaxgnn.data.errors import DataError
from jaxgnn.data.files import (
    DataFile,
    cache_folder,
    data_file,
    download_unknown,
    find,
    locate,
    record,
    recorded,
    sha256,
    warn_unverified,
)
from jaxgnn.data.generators import csbm, karate
from jaxgnn.data.own_files import load_own
from jaxgnn.data.power_law import power_law
from jaxgnn.data.roads import roads

Status = Literal["embedded", "in JAXGNN_DATA", "cached", "downloadable", "jaxgnn data fetch"]


class Source(NamedTuple):
    """How one data set is obtained.

    Attributes:
      kind: "planetoid", "heterophilous" or "generator".
      splits: the names of its splits, the default first.
      load: makes the data set, from a split's name (a generator: from its options).
      files: the files that a split needs, by the split's name; None for a generator.
    """

    kind: str
    splits: tuple[str, ...]
    load: Callable[..., Dataset]
    files: Callable[[str], tuple[DataFile, ...]] | None = None


class DatasetInfo(NamedTuple):
    """One line of the list of data sets; `status` says where the files of the default split are."""

    name: str
    kind: str
    splits: tuple[str, ...]
    status: Status


def _sources() -> dict[str, Source]:
    generators = {"csbm": csbm, "karate": karate, "power_law": power_law, "roads": roads}
    sources = {name: Source("generator", ("default",), load) for name, load in generators.items()}
    for kind, names, splits, load, files in (
        ("planetoid", planetoid.NAMES, planetoid.SPLITS, planetoid.load_planetoid, planetoid.planetoid_files),
        (
            "heterophilous",
            heterophilous.NAMES,
            heterophilous.SPLITS,
            heterophilous.load_heterophilous,
            heterophilous.heterophilous_files,
        ),
    ):
        sources |= {name: Source(kind, splits, partial(load, name), partial(files, name)) for name in names}
    return sources


DATASETS: Mapping[str, Source] = MappingProxyType(_sources())


def load_dataset(name: str, split: str | None = None, **options: Any) -> Dataset:
    """A data set by name, or from a file or folder; upper case and "-" for "_" are allowed, None is the default split.

    The default split is "public" for cora, citeseer and pubmed, "geom:0" for the other files and "default"
    for csbm, power_law, roads and karate. Only csbm, power_law and roads take options, those of the functions of these
    names.
    A path (a name with "/" or that ends in ".npz") is read as `jaxgnn.data.own_files` says, and has its own split.

    Raises:
      ValueError: unknown data set, split or option; the message lists what is allowed.
      DataError: a file is missing, damaged or cannot be fetched.
    """
    if is_path(name):
        if split is not None or options:
            raise ValueError(f"split={split!r}: {name} has a split of its own, and takes no options.")
        return load_own(name)
    name = canonical_name(name)
    source = DATASETS[name]
    split = source.splits[0] if split is None else split
    if split not in source.splits:
        raise ValueError(_unknown(f"split of {name}", split, source.splits))
    if source.files is not None:
        if options:
            raise ValueError(f"{name} is read from files and takes no options, but was given {', '.join(options)}.")
        return source.load(split)
    allowed = tuple(inspect.signature(source.load).parameters)
    for option in options:
        if option not in allowed:
            raise ValueError(_unknown(f"option of {name}", option, allowed))
    return source.load(**options)


def is_path(name: Any) -> bool:
    """Whether it is a path, and no name of a data set."""
    text = str(name)
    known = text.lower().replace("-", "_") in DATASETS
    return isinstance(name, Path) or (not known and (os.sep in text or text.endswith(".npz") or Path(text).is_dir()))


def canonical_name(name: str) -> str:
    """The name as DATASETS lists it; ValueError with a suggestion if it is not there."""
    canonical = str(name).lower().replace("-", "_")
    if canonical not in DATASETS:
        raise ValueError(_unknown("data set", name, DATASETS))
    return canonical


def describe() -> list[DatasetInfo]:
    """All data sets and where the files of their default split are; nothing is hashed or downloaded.

    Raises:
      DataError: JAXGNN_DATA names no folder.
    """
    return [DatasetInfo(name, s.kind, s.splits, _status(s)) for name, s in DATASETS.items()]


def fetch(name: str) -> list[Path]:
    """The verified files of all splits of a data set, downloaded into the cache where they are missing.

    Of a file whose hash is not known the structure is verified and the hash recorded: it must be the same ever after.

    Raises:
      ValueError: unknown data set.
      DataError: a file has the wrong hash, cannot be fetched, or is not what its name says; nothing new is kept then.
    """
    source = DATASETS[canonical_name(name)]
    if source.files is None:
        return []
    files = tuple(dict.fromkeys(file for split in source.splits for file in source.files(split)))
    unknown = [file for file in files if file.sha256 is None and find(file) is None]
    if not unknown:
        paths = [locate(file) for file in files]
        warn_unverified(files)
        return paths
    before = recorded()
    new: list[Path] = []
    try:
        for file in unknown:
            new.append(download_unknown(file))
            record({file.path: sha256(new[-1])})
        for split in source.splits:
            source.load(split)
    except DataError:
        for path in new:
            path.unlink(missing_ok=True)
        record(before, only=True)
        raise
    return [locate(data_file(file.path)) for file in files]


def _status(source: Source) -> Status:
    if source.files is None:
        return "embedded"
    files = source.files(source.splits[0])
    places = [find(file) for file in files]
    missing = [file for file, place in zip(files, places, strict=True) if place is None]
    if missing:
        return "jaxgnn data fetch" if any(file.sha256 is None for file in missing) else "downloadable"
    return "cached" if any(cache_folder() in place.parents for place in places if place) else "in JAXGNN_DATA"


def _unknown(what: str, value: object, allowed: Iterable[str]) -> str:
    allowed = tuple(allowed)
    close = difflib.get_close_matches(str(value).lower().replace("-", "_"), allowed, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown {what} {value!r}{hint}; allowed: {', '.join(allowed) or 'none'}."
