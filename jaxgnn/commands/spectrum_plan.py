"""What `jaxgnn spectrum` is asked for, and how a layer's spectrum is taken: exactly or from products, at what cost."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from jaxgnn.host.memory import host_bytes
from jaxgnn.host.options import check_flag, check_known, check_seed, check_texts, check_whole, checked_list
from jaxgnn.jacobian import LayerJacobian

Method = Literal["auto", "exact", "krylov"]


@dataclass(frozen=True)
class SpectrumConfig:
    """What to measure, and where.

    Attributes:
      at: layers, numbered from 0; by default the first, the middle and the last.
      method: "exact" takes all singular values of every layer, "krylov" both ends of the spectrum and its density from
        products; "auto" is exact up to n d = exact_below, where the memory suffices.
      exact_below: for "auto".
      eigenvalues_below: all eigenvalues where at most so many rows are not zero; else the `top` of largest modulus.
      top: singular values (and eigenvalues) at each end, where not all are taken.
      factorise: whether "krylov" factorises the sparse Jacobian, which certifies the bounds and gives the smallest
        singular values; "auto" where that is cheap.
      probes: random vectors of the density.
      lanczos_steps: products with J^T J for each of them.
      exponents: Lyapunov exponents of the network; 0 for none of what goes through depth.
      sources: nodes whose sensitivity is followed through depth.
      range_nodes: nodes whose outputs the range through depth is taken of, drawn at random; a layer's is of all nodes.
      precision: "float64" or "float32", of the layers.
      trained: train the network first, for `steps`; otherwise it is taken at initialisation.
      layer_options: options of the layer, name=value,...: heads=8 of gat, for example.
      seed: of all randomness.

    Raises ValueError for an option that is not known or out of its range, when the object is made.
    """

    at: tuple[int, ...] = ()
    method: Method = "auto"
    exact_below: int = 6000
    eigenvalues_below: int = 2000
    top: int = 20
    factorise: Literal["auto", "yes", "no"] = "auto"
    probes: int = 16
    lanczos_steps: int = 64
    exponents: int = 8
    sources: int = 4
    range_nodes: int = 16
    precision: Literal["float64", "float32"] = "float64"
    trained: bool = False
    layer_options: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for option in ("method", "factorise", "precision"):
            kind = Method if option == "method" else type(self).__annotations__[option]
            check_known(option, getattr(self, option), get_args(kind))
        least = {"top": 1, "probes": 2, "lanczos_steps": 2, "exponents": 0, "sources": 1, "range_nodes": 1}
        least |= {"exact_below": 0, "eigenvalues_below": 0}
        for option, lowest in least.items():
            check_whole(option, getattr(self, option), least=lowest)
        for layer in checked_list("at", self.at):
            check_whole("at", layer)
        check_texts("layer_options", self.layer_options)
        check_flag("trained", self.trained)
        check_seed("seed", self.seed)


class Plan(NamedTuple):
    """How a layer's spectrum is taken: "exact" or "krylov", why, and what it needs beside time, in words."""

    method: str
    why: str
    cost: str


def choose(J: LayerJacobian, config: SpectrumConfig) -> Plan:
    """Exact where it is asked for, or small enough and the memory suffices, from a first look at J."""
    rows, columns = (int(s.sum()) for s in J.support)
    small, size = min(rows, columns), max(J.shape)
    # The block without zero rows and columns, its Gram matrix twice, and the reduction of that.
    needed = 8 * (2 * rows * columns + 3 * small**2)
    if config.method != "auto":
        method, why = config.method, "as asked for"
    elif size > config.exact_below:
        method, why = "krylov", f"n d = {size:,} is above {config.exact_below:,} (--exact-below)"
    elif needed > 0.8 * host_bytes():
        method, why = "krylov", f"all singular values would need {needed / 2**30:.1f} GiB"
    else:
        method, why = "exact", f"n d = {size:,} is at most {config.exact_below:,} (--exact-below)"
    if method == "exact":
        return Plan(method, why, f"LAPACK on at most {rows:,} x {columns:,} entries not 0, {needed / 2**30:.2f} GiB")
    products = 2 * config.probes * config.lanczos_steps + 1000
    memory = 4 * (size * 160 + size * config.lanczos_steps * config.probes) * J.dtype.itemsize
    return Plan(method, why, f"about {products:,} products, up to {memory / 2**30:.2f} GiB, besides the entries")
