"""One network whose readout alone is trained: what `stationary` measures of it."""

import jax
import numpy as np

import jaxgnn as jg
from jaxgnn.analysis.landscape import hessian_extremes, landscape
from jaxgnn.analysis.readout import Readout, descend_readout, exact_readout, readout_at, readout_path, with_readout
from jaxgnn.analysis.stationary import balance, kept_vector, propagated
from jaxgnn.evidence.reproduction import Arrays
from jaxgnn.experiments.keriven2025.networks import Network, Setting, network
from jaxgnn.experiments.keriven2025.stationary_plan import Config
from jaxgnn.host.precision import precision

STAGES = ("initial", "adam", "stationary", "exact", "no bias")
SHOWN = ("adam", "stationary")  # around which the loss is shown
_RADIUS = 0.5  # of a slice: directions are as long as each filter


def measure(setting: Setting, config: Config) -> Arrays:
    """Trains the readout alone and takes every layer's balance at each stage.

    eigenvalue: lambda, 0 for the MLP. constant_loss: the best constant predictor's. smoothness: ||S|| / ||X^(l)||, S
    the part beside v, [L+1]. path: gradient norm, loss and ||R||_F at every point of `readout_path`, [k, 3]. Of every
    stage, as STAGE/NAME, the fields of `jaxgnn.analysis.stationary.Balance`, [L], and

      loss, score: in training; accuracy in test.
      gradient_norm, relative_gradient, separates: of the readout, as in `jaxgnn.analysis.readout.Readout`.
      readout_norm: ||R||_F ||X^(L)||_F / sqrt(n), so that the scale of X^(L) does not count.
      mean_error: ||1^T E|| / (sqrt(n) ||E||_F), E the output error.
      kept_error: ||v^T E|| / ||E||_F, v the unit vector that P keeps.
    """
    with precision(np.float64):
        net = network(setting)
        v = kept_vector(net.graph)
        readouts, path = _readouts(net, setting, config)
        stages = {name: _stage(net, readout, v) for name, readout in readouts.items()}
        features = _signals(net, readouts["initial"])[0]
    beside = features - v[:, None] * (v @ features)[:, None]
    return {
        "eigenvalue": net.eigenvalue,
        "constant_loss": net.constant_loss,
        "smoothness": np.linalg.norm(beside, axis=(1, 2)) / np.linalg.norm(features, axis=(1, 2)),
        "path": np.array([(r.gradient_norm, r.loss, np.linalg.norm(r.kernel)) for r in path]),
    } | {f"{name}/{field}": value for name, stage in stages.items() for field, value in stage.items()}


def surroundings(setting: Setting, config: Config) -> Arrays:
    """The slice and the Hessian's extremes around the network with its readout trained by Adam, and to stationarity.

    The fields of `Landscape` and `HessianExtremes` as STAGE/NAME.
    """
    with precision(np.float64):
        net = network(setting)
        readouts, _ = _readouts(net, setting, config)
        found = {"constant_loss": net.constant_loss}
        for stage in SHOWN:
            point = (net.model, with_readout(net.params, readouts[stage]), net.graph, net.x, net.loss)
            shape = landscape(*point, radius=_RADIUS, points=config.slice_points)
            hessian = hessian_extremes(*point, steps=config.lanczos_steps)
            found |= {f"{stage}/{name}": value for name, value in (shape._asdict() | hessian._asdict()).items()}
    return found


def _readouts(net: Network, setting: Setting, config: Config) -> tuple[dict[str, Readout], list[Readout]]:
    """The readout at every stage, and the path to a gradient norm of 1e-8."""
    X = np.asarray(jg.probe(net.model, net.params, net.graph, net.x, net.loss).features[-1])
    start = net.params["params"]["readout"]
    # A residual's features grow with depth: with a remedy the readout is trained on X^(L) / RMS.
    unit = np.sqrt(np.mean(X**2)) if setting.remedy != "none" else 1.0
    given = (X / unit, net.ds.labels, net.ds.train_mask, start["kernel"], start["bias"])
    path = readout_path(*given)
    trained = {
        "initial": readout_at(*given),
        "adam": descend_readout(*given, steps=config.adam_steps, learning_rate=config.learning_rate),
        "stationary": path[-1],
        "exact": exact_readout(*given),
        "no bias": readout_path(*given, train_bias=False)[-1],
    }
    return {name: readout._replace(kernel=readout.kernel / unit) for name, readout in trained.items()}, path


def _signals(net: Network, readout: Readout) -> tuple[np.ndarray, np.ndarray]:
    """X^(0) .. X^(L) and B^(0) .. B^(L-1) with this readout."""
    trace = jg.probe(net.model, with_readout(net.params, readout), net.graph, net.x, net.loss)
    return np.asarray(trace.features), np.asarray(trace.errors)


def _stage(net: Network, readout: Readout, v: np.ndarray) -> Arrays:
    features, errors = _signals(net, readout)
    X, n, test = features[-1], len(v), net.ds.test_mask
    logits = X @ readout.kernel + readout.bias
    E = np.asarray(jax.grad(net.loss)(logits))
    size = np.linalg.norm(E) or 1.0
    return {
        "loss": readout.loss,
        "score": np.mean(logits.argmax(axis=1)[test] == net.ds.labels[test]),
        "gradient_norm": readout.gradient_norm,
        "relative_gradient": readout.relative_gradient,
        "separates": readout.separates,
        "readout_norm": np.linalg.norm(readout.kernel) * np.linalg.norm(X) / np.sqrt(n),
        "mean_error": np.linalg.norm(E.sum(axis=0)) / np.sqrt(n) / size,
        "kept_error": np.linalg.norm(v @ E) / size,
    } | balance(propagated(net.model, net.graph, features), errors, v)._asdict()
