"""A look at a pickle's instructions before they are followed: none may ask for more memory than the file has bytes."""

import pickletools
from io import BytesIO
from pathlib import Path

_NUMBERED = ("PUT", "BINPUT", "LONG_BINPUT")  # the unpickler makes room for every number up to theirs


def checked_pickle(path: Path) -> BytesIO:
    """A pickle's bytes to be read, after every instruction's length and place have been found possible.

    Raises ValueError where an instruction is cut off or unknown, or numbers an object beyond the file's bytes.
    """
    raw = path.read_bytes()
    for opcode, argument, position in pickletools.genops(raw):
        if opcode.name in _NUMBERED and not (argument is not None and 0 <= argument <= len(raw)):
            raise ValueError(f"the instruction at byte {position} numbers an object {argument} of {len(raw)} bytes")
    return BytesIO(raw)
