"""`jaxgnn data`: which data sets there are, and their files from upstream."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jaxgnn.data import DATASETS, describe, fetch
from jaxgnn.data.files import recorded
from jaxgnn.report.terminal import print_table


@dataclass(frozen=True)
class ListCommand:
    """Show the data sets, their splits, and whether their files are here.

    Attributes:
      json: print JSON in place of the table.
    """

    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        del arguments
        infos = describe()
        if self.json:
            print(json.dumps([info._asdict() for info in infos]))
        else:
            print_table(
                ("name", "kind", "splits", "status"), [(i.name, i.kind, _spans(i.splits), i.status) for i in infos]
            )


@dataclass(frozen=True)
class FetchCommand:
    """Download data sets into the cache (JAXGNN_CACHE names another), with their checksums verified.

    Where a checksum is not known, what the file holds is verified, and its checksum shown and recorded: another file of
    the name is refused ever after.

    Attributes:
      names: the data sets.
      json: print JSON in place of the paths.
    """

    names: tyro.conf.Positional[tuple[str, ...]]
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        del arguments
        if not self.names:
            raise ValueError(f"jaxgnn data fetch needs a name: allowed are {', '.join(DATASETS)}")
        paths = {name: [str(path) for path in fetch(name)] for name in self.names}
        for path, digest in recorded().items():
            if any(found.endswith(path) for of_name in paths.values() for found in of_name):
                print(f"jaxgnn: note: {path} has SHA-256 {digest}, which was not known: recorded", file=sys.stderr)
        print(json.dumps(paths) if self.json else "\n".join(p for found in paths.values() for p in found))


@dataclass(frozen=True)
class DataCommand:
    """List data sets, or download them."""

    action: tyro.conf.OmitSubcommandPrefixes[
        Annotated[ListCommand, tyro.conf.subcommand("list")] | Annotated[FetchCommand, tyro.conf.subcommand("fetch")]
    ]

    def run(self, arguments: Sequence[str]) -> None:
        self.action.run(arguments)


def _spans(splits: Sequence[str]) -> str:
    """geom:0 ... geom:9 in short."""
    return f"{splits[0]} … {splits[-1]}" if len(splits) > 3 else ", ".join(splits)
