"""What `jaxgnn spectrum` does: the Jacobian spectra of a network's layers, and of the network through depth."""

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from jaxgnn.analysis.explained import of_spectrum
from jaxgnn.commands.options_file import save as save_options
from jaxgnn.commands.setting import DataConfig, ModelConfig, label, network, summary
from jaxgnn.commands.spectrum_cost import said, seconds, work_of
from jaxgnn.commands.spectrum_plan import SpectrumConfig, choose
from jaxgnn.host import interrupts
from jaxgnn.host.memory import peak_memory
from jaxgnn.host.occupied import occupied
from jaxgnn.host.storage import Cell, environment, fingerprint, kept_cell, writable_folder, write_arrays, write_json
from jaxgnn.jacobian import (
    LayerJacobian,
    by_distance,
    influence,
    influence_of_blocks,
    jacobian,
    kolmogorov_smirnov,
    linear_layer_law,
    lyapunov,
    sensitivity_bound,
)
from jaxgnn.jacobian import sensitivity as node_sensitivity
from jaxgnn.jacobian.density import smoothed
from jaxgnn.jacobian.statistics import exact, stochastic
from jaxgnn.network.dynamics import effective_kernels
from jaxgnn.report import ranges
from jaxgnn.report.spectrum import HEADER, headline, range_line, range_numbers, table, write_spectrum
from jaxgnn.report.terminal import print_table
from jaxgnn.training.optimisers import TrainConfig
from jaxgnn.training.train import train

_LAW_LAYERS = ("gcn", "mlp")


class Spectrum:
    """One call of `jaxgnn spectrum`.

    Raises ValueError for an unknown data set, layer or option, a layer that is not there, or a folder that cannot be
    written to; before anything is computed.
    """

    def __init__(self, source: DataConfig, model: Any, optimisation: TrainConfig, config: SpectrumConfig, out: Path):
        self.configs = {"data": source, "model": model, "train": optimisation, "spectrum": config}
        self.config, self.optimisation = config, optimisation
        made = network(model, config.layer_options)
        if made.blocks < 1:
            raise ValueError(f"depth={made.depth} with ends={made.ends!r} leaves no block between the ends")
        self.layers = config.at or tuple(sorted({0, made.blocks // 2, made.blocks - 1}))
        for layer in self.layers:
            if not 0 <= layer < made.blocks:
                raise ValueError(f"at={layer}: a network of {made.blocks} blocks has layers 0 to {made.blocks - 1}")
        self.task = source.problem(made.distances)
        self.model = made.clone(out=self.task.out)
        self.out = writable_folder(out)
        self.arrays: dict[str, np.ndarray] = {}
        self.measured: list[dict[str, Any]] = []  # what layers took, for the estimates of those after them

    def parameters(self) -> Any:
        """At initialisation, or where `trained` at the best validation score of one run."""
        if not self.config.trained:
            return self.model.init(jax.random.key(self.config.seed), self.task.graph, self.task.x)
        described = [asdict(self.configs["data"]), repr(self.model), asdict(self.optimisation), self.config.seed]
        out = self.out / "training" / fingerprint(described)[:12]
        result = train(self.model, self.task, seeds=1, seed=self.config.seed, out=out, **asdict(self.optimisation))
        return jax.tree.map(lambda a: a[0], result.params)

    def run(self, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
        """Measures everything; writes results.json and spectrum.npz, and returns what the former holds.

        Each layer is kept in cells/ as soon as it is measured, and a training in training/, so that an interrupted run
        goes on where it was. `say` is given a line before each layer (the method, why, and its cost: the seconds as a
        range, with compiling) and two after it: how exact it is, and what it took.
        """
        with occupied(self.out):
            return self._run(say)

    def _run(self, say: Callable[[str], None]) -> dict[str, Any]:
        params = self.parameters()
        layers = []
        for layer in self.layers:
            try:
                layers.append(self._kept(f"layer {layer}", params, say, partial(self._layer, params, layer, say)))
            except ValueError as error:  # features that overflow have no Jacobian
                say(f"layer {layer}: {error}")
                layers.append({"layer": layer, "error": str(error)})
        depth = None
        if self.config.exponents:
            depth = self._kept("through depth", params, say, partial(self._through_depth, params, say))
        results = {
            "config": {name: asdict(config) for name, config in self.configs.items()},
            "layers": layers,
            "depth": depth,
        }
        results |= environment()
        write_arrays(self.out / "spectrum.npz", self.arrays)
        write_json(self.out / "results.json", results)
        return results

    def _kept(self, name: str, params: Any, say: Callable[[str], None], measure: Callable[[], Any]) -> dict[str, Any]:
        """What `measure` returns, and the arrays it adds, from cells/ where they are kept."""
        config = {option: value for option, value in asdict(self.config).items() if option not in ("at", "trained")}
        measured = False

        def cell() -> Cell:
            nonlocal measured
            measured, before = True, set(self.arrays)
            summary = measure()
            return Cell(summary, {n: array for n, array in self.arrays.items() if n not in before})

        folder = writable_folder(self.out / "cells")
        found = kept_cell(
            folder / name.replace(" ", "-"), fingerprint([repr(self.model), config], (params, self.task)), cell
        )
        if not measured:
            say(f"{name}: kept from before")
        self.arrays |= found.arrays
        return found.summary

    def _layer(self, params: Any, layer: int, say: Callable[[str], None]) -> dict[str, Any]:
        f, h = self.model.layer_fn(params, self.task.graph, self.task.x, layer=layer, dtype=self.config.precision)
        started = time.perf_counter()
        J = jacobian(f, h, self.task.graph)
        plan = choose(J, self.config)
        expected = seconds(J, plan.method, self.config, self.measured)
        say(f"layer {layer}: {plan.method}, {plan.why}; {plan.cost}, about {said(*expected)}")
        work = work_of(J, plan.method, self.config)
        nodes = (self.task.graph.num_nodes,) * 2
        record = {"layer": layer, "shape": J.shape, "blocks": nodes, "precision": str(J.dtype), **plan._asdict()}
        clock = Clock()
        blocks = clock("sparse Jacobian", J.sparse)
        record |= self._exact(J, layer, clock) if plan.method == "exact" else self._krylov(J, layer, clock)
        record |= clock("eigenvalues", lambda: self._eigenvalues(J, layer))
        if plan.method == "exact":
            record |= self._law(params, layer)
        record["sparse"] = {
            "entries": blocks.nnz,
            "pattern": J.sparsity.pattern,
            "relative_error": J.sparsity.relative_error,
        }
        found = clock("range", lambda: influence_of_blocks(J.block_norms("entrywise"), self.task.graph))
        record["range"] = ranges.numbers(found)
        self.arrays |= ranges.arrays(f"{layer}/influence", found)
        norms = J.block_norms()
        self.arrays |= {f"{layer}/block_norms/{name}": getattr(norms, name) for name in ("data", "indices", "indptr")}
        record |= {"seconds": time.perf_counter() - started, "seconds_of": clock.seconds, "peak_memory": peak_memory()}
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in clock.seconds.items())
        self.measured.append(record | {"work": work})
        say(f"layer {layer}: {record['accuracy']}")
        say(f"layer {layer}: range {ranges.said(record['range'])}")
        say(f"layer {layer}: {record['seconds']:.1f} s: {parts}; peak memory {record['peak_memory'] / 2**30:.2f} GiB")
        return record

    def _exact(self, J: LayerJacobian, layer: int, clock: "Clock") -> dict[str, Any]:
        values = clock("singular values", J.singular_values)
        density = clock("density", lambda: J.density(self.config.probes, self.config.lanczos_steps))
        self.arrays |= {f"{layer}/singular_values": values} | _fields(f"{layer}/density", density)
        statistics = exact(values, J.shape, J.eps)
        zero = f"zero below {statistics.rank_tolerance:.1e}: {statistics.null_dim.value:.0f}"
        return {
            "statistics": _plain(statistics),
            "zero": {"count": int(statistics.null_dim.value), "all": True},
            "accuracy": f"all {values.size} singular values to 1e-12 of the largest, {J.dtype} entries; {zero}",
        }

    def _krylov(self, J: LayerJacobian, layer: int, clock: "Clock") -> dict[str, Any]:
        config = self.config
        rule = clock("density", lambda: J.quadrature(config.probes, config.lanczos_steps))
        density = smoothed(rule)
        factorise = config.factorise == "yes" or (config.factorise == "auto" and J.cheap_to_factorise())
        certify = None if config.factorise == "auto" else factorise
        ends = {"largest": clock("largest", lambda: J.extremes(config.top, certify=certify))}
        if factorise:
            ends["smallest"] = clock("smallest", lambda: J.extremes(config.top, which="smallest"))
        self.arrays |= _fields(f"{layer}/density", density)
        said = []
        for which, found in ends.items():
            self.arrays |= {
                f"{layer}/{which}/{n}": getattr(found, n) for n in ("values", "lower", "upper", "certified")
            }
            width = float(np.max(found.upper - found.lower, initial=0.0))
            proved = "certified" if found.certified.all() else "upper bounds not certified"
            said.append(f"{which} {found.values.size} within {width:.1e}, {proved}")
        said.append(f"density to {density.standard_error.max():.1e} (one standard error) and {density.bias.max():.1e}")
        if "smallest" in ends:
            said.append(f"{ends['smallest'].null_dim} singular values up to {ends['smallest'].rank_tolerance:.1e}")
        statistics = _plain(stochastic(rule, J.shape, J.eps))
        zero = {"count": round(statistics["null_dim"]["value"]), "all": False}
        if "smallest" in ends and ends["smallest"].certified.all():
            zero = {"count": ends["smallest"].null_dim, "all": True}
        return {"statistics": statistics, "zero": zero, "accuracy": "; ".join(said) + f"; {J.dtype} products"}

    def _eigenvalues(self, J: LayerJacobian, layer: int) -> dict[str, Any]:
        if J.support[0].sum() <= self.config.eigenvalues_below or J.shape[0] <= self.config.top + 2:
            values, said = J.eigenvalues(), f"all {J.shape[0]:,}, by LAPACK"
        else:
            found = J.outer_eigenvalues(self.config.top)
            values = found.values
            said = f"{values.size} of largest modulus, by Arnoldi, residuals up to {found.residuals.max():.1e}"
        self.arrays[f"{layer}/eigenvalues"] = values
        return {"eigenvalues": said, "spectral_radius": float(np.abs(values).max(initial=0.0))}

    def _law(self, params: Any, layer: int) -> dict[str, Any]:
        """The law of a linear layer with random weights of the same mean square, and the distance to it."""
        plain = self.model.layer in _LAW_LAYERS and self.model.residual == "none" and self.model.norm == "none"
        if not plain or self.model.khop:
            return {}
        W = np.asarray(effective_kernels(self.model, params), np.float64)[layer]
        P = np.eye(self.task.graph.num_nodes) if self.model.layer == "mlp" else self.task.graph.propagation
        law = linear_layer_law(P, shape=W.shape, variance=float(np.mean(W**2)))
        values, grid = self.arrays[f"{layer}/singular_values"], self.arrays[f"{layer}/density/grid"][1:]
        self.arrays |= {f"{layer}/law/grid": grid, f"{layer}/law/density": law.density(grid)}
        return {"law": {"distance": kolmogorov_smirnov(values, law), "mean_square": law.mean_square}}

    def _through_depth(self, params: Any, say: Callable[[str], None]) -> dict[str, Any]:
        config, graph, x = self.config, self.task.graph, self.task.x
        say(f"through {self.model.blocks} layers: Lyapunov exponents, end-to-end Jacobian, sensitivity, range")
        try:
            exponents = lyapunov(
                *self.model.scan_fn(params, graph, x, dtype=config.precision), k=config.exponents, seed=config.seed
            )
            f, h = self.model.segment_fn(params, graph, x, dtype=config.precision)
            ends = jacobian(f, h, graph).extremes(config.top, certify=False, max_products=400)
            sources = min(config.sources, graph.num_nodes)
            followed = node_sensitivity(f, h, graph, sources=sources, seed=config.seed)
            nodes = min(config.range_nodes, graph.num_nodes)
            reached = influence(f, h, graph, nodes=nodes, seed=config.seed)
        except ValueError as error:
            say(f"through depth: {error}")
            return {"error": str(error)}
        at = by_distance(followed)
        self.arrays |= ranges.arrays("depth/influence", reached)
        say(f"through depth: range {ranges.said(ranges.numbers(reached))}")
        self.arrays |= _fields("depth/lyapunov", exponents) | _fields("depth/sensitivity", at)
        self.arrays |= {f"depth/largest/{n}": getattr(ends, n) for n in ("values", "lower", "upper")}
        record = {
            "lyapunov": exponents.exponents.tolist(),
            "standard_error": exponents.standard_error.tolist(),
            "edge_of_chaos": exponents.largest,
            "end_to_end_norm": float(ends.values[0]) if ends.values.size else 0.0,
            "range": ranges.numbers(reached),
        }
        try:
            P = np.eye(graph.num_nodes) if self.model.layer == "mlp" else graph.propagation
            bound = sensitivity_bound(P, *self.model.dynamics(params), sources=followed.sources)
        except ValueError as error:
            return record | {"bound": f"none: {error}"}
        mean = by_distance(followed._replace(norms=bound.values)).mean
        self.arrays["depth/sensitivity/bound"] = mean
        return record | {"bound": "Arroyo et al. 2025, theorem 5.1, in the form prod_l (alpha_l I + s_l |P|)"}


class Clock:
    """Calls functions, and keeps how long each took, in seconds, under a name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = call()
        self.seconds[name] = time.perf_counter() - started
        return result


def _fields(name: str, result: Any) -> dict[str, np.ndarray]:
    return {f"{name}/{field}": np.asarray(value) for field, value in result._asdict().items()}


def _plain(statistics: Any) -> dict[str, Any]:
    return {n: v._asdict() if hasattr(v, "_asdict") else v for n, v in statistics._asdict().items()}


@dataclass(frozen=True)
class SpectrumCommand:
    """Take the Jacobian spectra of a network's layers, and follow perturbations through its depth.

    Writes index.html, results.json, spectrum.npz and figures/ into the folder.

    Attributes:
      recipe: kipf2017, velickovic2018, chen2020 or platonov2023: the paper's settings, where nothing else is said.
      model: the network.
      out: the folder; by default jaxgnn-spectrum-DATASET-LAYER-DEPTH.
      json: print a summary as the last line of standard output, as JSON.
    """

    source: tyro.conf.OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    model: tyro.conf.OmitArgPrefixes[ModelConfig] = field(default_factory=ModelConfig)  # pyright: ignore[reportInvalidTypeForm]
    optimisation: tyro.conf.OmitArgPrefixes[TrainConfig] = field(default_factory=TrainConfig)
    spectra: tyro.conf.OmitArgPrefixes[SpectrumConfig] = field(default_factory=SpectrumConfig)
    recipe: str | None = None
    out: Path | None = None
    json: bool = False

    def run(self, arguments: Sequence[str]) -> None:
        name = f"jaxgnn-spectrum-{label(self.source.dataset)}-{self.model.layer}-{self.model.depth}"
        spectrum = Spectrum(self.source, self.model, self.optimisation, self.spectra, self.out or Path(name))
        with occupied(spectrum.out):
            save_options(spectrum.out, "spectrum", self)
            try:
                results = spectrum.run(_say)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"the same command goes on from {spectrum.out / 'cells'}") from None
            page = write_spectrum(
                spectrum.out, results, spectrum.arrays, f"jaxgnn {shlex.join(arguments)}", explain=of_spectrum
            )
        print_table(HEADER, table(results))
        print(headline(results))
        print(range_line(results))
        print(f"page: {page}")
        if self.json:
            print(summary(page, spectrum.out, headline=headline(results), range=range_numbers(results)))


def _say(line: str) -> None:
    interrupts.check()
    print(line, file=sys.stderr, flush=True)
