"""What a study measures of one cell's trained networks."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxgnn.analysis import measures
from jaxgnn.analysis.probe import probe
from jaxgnn.host.arrays import Array
from jaxgnn.host.precision import nan_is_a_value
from jaxgnn.jacobian import jacobian
from jaxgnn.network.model import DeepGNN
from jaxgnn.tasks import Batch
from jaxgnn.training.train import SweepPoint

STATES = ("initial", "trained")
_TOP = 20  # singular values where not all are computed, by so many products at most
_PRODUCTS = 300


def arrays_of_cell(model: DeepGNN, best: SweepPoint, task: Batch, *, exact: bool) -> dict[str, np.ndarray]:
    """Histories, measures of X, G and B by layer and seed, singular values of three layers of the first seed."""
    arrays = {f"history/{name}": values for name, values in best.result.history._asdict().items()}
    for state in STATES:
        params = best.result.initial_params if state == "initial" else best.result.final_params
        with nan_is_a_value():
            measured = _measure_seeds(model, params, task)
        arrays |= {f"{state}/{name}": np.asarray(values) for name, values in measured.items()}
        first = jax.tree.map(lambda a: a[0], params)
        for layer in sorted({0, model.depth // 2, model.depth - 1}):
            arrays |= _spectrum(model, first, task, layer, f"{state}/singular_values/{layer}", exact=exact)
    return arrays


def spectrum_said(*, exact: bool) -> str:
    """How much of a spectrum is taken, in words."""
    return "exact" if exact else f"{_TOP} largest by block Lanczos, lower bounds"


def _spectrum(model: DeepGNN, params: Any, task: Batch, layer: int, name: str, *, exact: bool) -> dict[str, np.ndarray]:
    dtype = jnp.float64 if exact else jnp.float32
    try:
        f, h = model.layer_fn(params, task.graph, task.x, layer=layer, dtype=dtype)
        J = jacobian(f, h, task.graph)
        if exact:
            return {name: J.singular_values()}
        largest = J.extremes(_TOP, certify=False, max_products=_PRODUCTS)
    except ValueError:  # a network whose features overflow has no Jacobian
        return {name: np.zeros(0)}
    return {name: largest.values, f"{name}/lower": largest.lower, f"{name}/upper": largest.upper}


def layer_measures(X: Array, P: Any) -> dict[str, Array]:
    """Every layer's measures of signals X [L, n, d], each [L]."""
    functions = {
        "mu": measures.mu,
        "relative_mu": measures.relative_mu,
        "dirichlet": lambda X: measures.dirichlet(X, P),
        "normalised_dirichlet": lambda X: measures.normalised_dirichlet(X, P),
        "energy": measures.energy,
        "norm": measures.norm,
        "off_degree_span": lambda X: measures.off_degree_span(X, P),
    }
    return {name: jax.vmap(function)(X) for name, function in functions.items()}


@partial(jax.jit, static_argnums=0)
def _measure_seeds(model: DeepGNN, params: Any, task: Batch) -> dict[str, Array]:
    """Measures of X, G and B at every layer for every seed, each [seeds, layers]; one seed after another."""

    def measure(params):
        trace = probe(model, params, task.graph, task.x, Partial(_loss, task))
        signals = {"features": trace.features, "feature_grads": trace.feature_grads, "errors": trace.errors}
        # All signals at once: one program for each measure, where three take three times as long to compile.
        ends = np.cumsum([X.shape[0] for X in signals.values()])[:-1]
        found = layer_measures(jnp.concatenate(list(signals.values())), task.graph.propagation)
        measured = {
            f"{signal}/{name}": part
            for name, values in found.items()
            for signal, part in zip(signals, jnp.split(values, ends), strict=True)
        }
        return measured | {"weight_grads": trace.weight_grads}

    return jax.lax.map(measure, params)


def _loss(task: Batch, logits: Array) -> Array:
    return task.loss(logits)
