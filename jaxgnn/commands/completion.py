"""What a shell completes: all commands with their options as one parser, as tyro writes it out."""

import importlib
import operator
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Annotated, Any


def print_completion(
    commands: Mapping[str, tuple[str, str]], arguments: Sequence[str], options: Mapping[str, Any]
) -> None:
    """Answers --tyro-print-completion SHELL and --tyro-write-completion SHELL PATH; ends the process as tyro does."""
    import tyro

    kinds = []
    for name, (where, summary) in commands.items():
        module, _, kind = where.partition(".")
        found = getattr(importlib.import_module(f"jaxgnn.commands.{module}"), kind)
        kinds.append(Annotated[found, tyro.conf.subcommand(name, description=summary)])
    every: Any = tyro.conf.OmitSubcommandPrefixes[reduce(operator.or_, kinds)]
    tyro.cli(every, prog="jaxgnn", args=list(arguments), **options)
