"""Compiled programs kept in a folder, in the form of JAX's persistent compilation cache.

What is compiled for devices that are not here cannot be loaded here; where they are, JAX looks in the folder named by
JAX_COMPILATION_CACHE_DIR before it compiles. Its key is of the program, of the versions of JAX and of the compiler, of
kind, number and topology of the devices and of all options: a program that differs in any is compiled anew. The files
hold machine code and no pickled objects; whoever can write to the folder decides what runs, so keep it your own.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

_OPTIONS = {
    "jax_enable_compilation_cache": True,
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@contextmanager
def kept_programs(folder: Path | str) -> Iterator[None]:
    """A context in which what is compiled is written to a folder. Raises ValueError where that cannot be made."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder} cannot be written to: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{folder} cannot be written to")
    before = {name: getattr(jax.config, name) for name in (*_OPTIONS, "jax_compilation_cache_dir")}
    _set(_OPTIONS | {"jax_compilation_cache_dir": str(folder)})
    try:
        yield
    finally:
        _set(before)


def _set(options: dict) -> None:
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # it is opened once, at the first program
