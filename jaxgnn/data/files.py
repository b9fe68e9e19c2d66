"""Where a data file lies: the folder JAXGNN_DATA, the cache, or upstream; never with the wrong hash."""

import functools
import hashlib
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pooch
import requests

from jaxgnn.data.errors import DataError
from jaxgnn.host.storage import write_text

_RECORD = "fetched.txt"  # in the cache: path and SHA-256
UPSTREAM = MappingProxyType(
    {
        "planetoid": "https://github.com/kimiyoung/planetoid",
        "heterophilous": "https://github.com/yandex-research/heterophilous-graphs",
        "splits": "https://github.com/graphdml-uiuc-jlu/geom-gcn",
        "peptides": "https://github.com/vijaydwivedi75/lrgb",
    }
)


class DataFile(NamedTuple):
    """One upstream file.

    Attributes:
      path: where it lies below JAXGNN_DATA, the cache or a mirror, for example "planetoid/ind.cora.x".
      sha256: its hash in hexadecimal, known or recorded; None: then only `jaxgnn data fetch` downloads it.
      url: its upstream address, or None where that is unknown.
    """

    path: str
    sha256: str | None = None
    url: str | None = None


@functools.cache
def registry() -> Mapping[str, DataFile]:
    """The files whose hash is known, by path (registry.txt, in the format of pooch)."""
    text = resources.files("jaxgnn.data").joinpath("registry.txt").read_text(encoding="utf-8")
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return MappingProxyType({path: DataFile(path, digest, url) for path, digest, url in rows})


def data_file(path: str) -> DataFile:
    """The registry's entry for a path; where it has none, with the hash that the cache has recorded, or without."""
    known = registry().get(path)
    return DataFile(path, recorded().get(path), _address(path)) if known is None else known


def recorded() -> dict[str, str]:
    """SHA-256 by path of files that `jaxgnn data fetch` has downloaded though their hash was not known.

    DataError where the record cannot be read.
    """
    try:
        lines = (cache_folder() / _RECORD).read_text(encoding="utf-8").splitlines()
        return dict(line.split() for line in lines if line)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{cache_folder() / _RECORD} cannot be read: {error}; fetch its data sets again.") from error


def record(hashed: Mapping[str, str], *, only: bool = False) -> None:
    """Adds to what `recorded` gives, or replaces it."""
    kept = dict(hashed) if only else recorded() | dict(hashed)
    lines = [f"{path} {digest}\n" for path, digest in sorted(kept.items())]
    write_text(cache_folder() / _RECORD, "".join(lines))


def _address(path: str) -> str | None:
    """Where a file without a hash lies upstream: beside those of its folder whose address is known."""
    folder = path.split("/")[0]
    beside = next(
        (known.url for known in registry().values() if known.path.split("/")[0] == folder and known.url), None
    )
    return None if beside is None else f"{beside.rsplit('/', 1)[0]}/{path.split('/', 1)[1]}"


def data_folder() -> Path | None:
    """The folder that JAXGNN_DATA names, or None; DataError if it names no folder."""
    value = os.environ.get("JAXGNN_DATA")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DataError(f"JAXGNN_DATA names {value!r}, which is not a folder: correct it or unset it.")
    return folder


def cache_folder() -> Path:
    """The folder that downloads go to: JAXGNN_CACHE, or the system's cache folder."""
    value = os.environ.get("JAXGNN_CACHE")
    return Path(value).expanduser() if value else Path(pooch.os_cache("jaxgnn"))


def find(file: DataFile) -> Path | None:
    """Where the file lies on this machine, unverified, or None; a file without any hash only in JAXGNN_DATA."""
    folders = [data_folder()]
    if file.sha256 is not None:
        folders.append(cache_folder())
    paths = (folder / file.path for folder in folders if folder is not None)
    return next((path for path in paths if os.path.lexists(path)), None)


def locate(file: DataFile) -> Path:
    """The verified path of a data file: in JAXGNN_DATA, else in the cache, else downloaded into the cache.

    JAXGNN_MIRROR, the base address of a server with the same layout, replaces the upstream address. A file
    that is found but has the wrong hash never falls through to the next place.

    Raises:
      DataError: wrong hash, no such file, unusable folder, or a failed download; nothing half-written stays.
    """
    path = find(file)
    if path is None:
        return _download(file)
    found = sha256(path)
    if file.sha256 is not None and found != file.sha256:
        raise DataError(
            f"{path} has SHA-256 {found}, but {file.sha256} is expected for {file.path}: "
            f"delete it or put the original file there."
        )
    return path


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal; DataError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def hashes(files: Iterable[DataFile], paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 by file, of files that `locate` has verified or that have no known hash."""
    return {file.path: file.sha256 or sha256(path) for file, path in zip(files, paths, strict=True)}


def warn_unverified(files: Iterable[DataFile]) -> None:
    """Name in one UserWarning the files whose hash is not known, so that only their structure was checked."""
    names = [file.path for file in files if file.sha256 is None]
    if names:
        # One level for this function, one for the loader, one for load_dataset.
        warnings.warn(
            f"no SHA-256 is known for {', '.join(names)}: only the structure of what JAXGNN_DATA holds is checked.",
            UserWarning,
            stacklevel=4,
        )


def download_unknown(file: DataFile) -> Path:
    """Downloads a file whose hash is not known into the cache; what it holds is for the caller to verify and record."""
    return _download(file, unknown=True)


def _download(file: DataFile, *, unknown: bool = False) -> Path:
    if (file.sha256 is None and not unknown) or file.url is None:
        folder = data_folder() or "a folder that the environment variable JAXGNN_DATA names"
        source = UPSTREAM.get(file.path.split("/")[0], "its authors")
        raise DataError(
            f"{file.path} is not downloaded unasked, because its SHA-256 is not known: `jaxgnn data fetch` downloads "
            f"it, or get it from {source} and put it at {file.path} in {folder}."
        )
    mirror = os.environ.get("JAXGNN_MIRROR")
    url = f"{mirror.rstrip('/')}/{file.path}" if mirror else file.url
    target = cache_folder() / file.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Downloaded beside its place and renamed when verified, so the final name never holds part of a file.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as scratch:
            part = Path(scratch) / target.name
            # Not streamed: pooch leaves a streamed connection open when it fails, and the files are small.
            pooch.HTTPDownloader(timeout=30, stream=False)(url, str(part), None)
            found = sha256(part)
            if file.sha256 is not None and found != file.sha256:
                raise DataError(
                    f"{url} sent a file with SHA-256 {found}, but {file.sha256} is expected for {file.path}: "
                    f"nothing was kept; try again or bring the file in a folder that JAXGNN_DATA names."
                )
            part.replace(target)
    except requests.RequestException as error:
        raise DataError(
            f"{file.path} cannot be downloaded from {url}: {_reason(error)}; nothing was kept; "
            f"try again or bring the file in a folder that JAXGNN_DATA names."
        ) from error
    except OSError as error:
        raise DataError(
            f"{file.path} cannot be written to the cache folder {cache_folder()}: {error.strerror or error}; "
            f"set JAXGNN_CACHE to a folder that can be written to."
        ) from error
    return target


def _reason(error: requests.RequestException) -> str:
    """The few words behind the nested messages of requests and urllib3."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered with status {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended before the file did"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return " ".join(str(error).split())
