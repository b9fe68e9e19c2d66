"""Data sets: files that are verified before they are read, and generators that need none."""

from jaxgnn.data.dataset import Dataset, graphs_tuple
from jaxgnn.data.errors import DataError
from jaxgnn.data.generators import csbm, karate
from jaxgnn.data.load import DATASETS, DatasetInfo, describe, fetch, load_dataset
from jaxgnn.data.peptides import Peptides, load_peptides
from jaxgnn.data.power_law import power_law
from jaxgnn.data.roads import roads
from jaxgnn.data.transforms import largest_component, row_normalise

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "DatasetInfo",
    "Peptides",
    "csbm",
    "describe",
    "fetch",
    "graphs_tuple",
    "karate",
    "largest_component",
    "load_dataset",
    "load_peptides",
    "power_law",
    "roads",
    "row_normalise",
]
