"""Reading .npz files that nobody vouches for: no pickles, no archive bombs, one sentence for each defect."""

import math
import zipfile
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from jaxgnn.data.errors import DataError

MAX_BYTES = 8 * 2**30


def read_npz(path: Path, file: str, keys: tuple[str, ...] | None) -> dict[str, np.ndarray]:
    """The named arrays of a .npz file, or all of them.

    Raises:
      DataError: no such array, an array of Python objects, more than 8 GiB declared, or a damaged archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = [name.removesuffix(".npy") for name in archive.namelist()] if keys is None else keys
            return {key: _read_member(archive, file, key) for key in wanted}
    except DataError:
        raise
    # Damaged archives raise almost any exception: of zipfile, zlib, and what parses a header as Python.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file} is not a readable .npz archive: {reason}.") from error


def _read_member(archive: zipfile.ZipFile, file: str, key: str) -> np.ndarray:
    names = archive.namelist()
    if f"{key}.npy" not in names:
        found = ", ".join(name.removesuffix(".npy") for name in names[:20]) or "nothing"
        raise DataError(f"{file} holds no array {key!r}; it holds {found}.")
    member = archive.getinfo(f"{key}.npy")
    if member.file_size > MAX_BYTES:
        raise DataError(
            f"{file}: array {key!r} declares {member.file_size} bytes, and more than {MAX_BYTES} are refused."
        )
    with archive.open(member) as stream:
        return _read_array(stream, member.file_size, file, key)


def _read_array(stream: BufferedIOBase, size: int, file: str, key: str) -> np.ndarray:
    # np.load would allocate whatever shape the header declares; here it must fit the member's size first.
    version = np.lib.format.read_magic(stream)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise DataError(f"{file}: array {key!r} has .npy version {version}; versions 1.0 and 2.0 are read.")
    shape, fortran, dtype = headers[version](stream)
    if dtype.hasobject:
        raise DataError(
            f"{file}: array {key!r} holds Python objects, which are refused because loading them runs code."
        )
    declared, stored = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if declared != stored or any(length < 0 for length in shape):
        raise DataError(f"{file}: array {key!r} declares shape {shape} of {dtype}, but stores {stored} bytes.")
    return np.frombuffer(stream.read(), dtype).reshape(shape, order="F" if fortran else "C")
