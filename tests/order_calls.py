"""Calls of the public interface on objects that they share, for `test_order`; run as a script, each in a fresh process.

python tests/order_calls.py RESULTS.pickle
"""

import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

import jaxgnn as jg
from jaxgnn.analysis import backward, landscape
from jaxgnn.jacobian import lyapunov, sensitivity

N, D = 12, 3
CALLS: dict[str, Callable[[], object]] = {}
KEPT = []  # compiled functions of a user's, which stay alive


@cache
def shared():
    """Graphs, a data set and a network, made at the first call: a process that has computed cannot be forked."""
    senders = np.arange(N)
    following = (senders + 1) % N
    both = np.append(senders, following), np.append(following, senders)
    ds = jg.load_dataset("karate")
    return SimpleNamespace(
        graph=jg.prepare(senders=both[0], receivers=both[1], num_nodes=N),
        ds=ds,
        club=jg.prepare(ds.graph),
        model=jg.DeepGNN(depth=2, width=D, out=2, activation="tanh"),
    )


X = np.random.default_rng(0).standard_normal((N, D))  # float64 on the host, in both modes
A = np.random.default_rng(1).standard_normal((D, D))  # closed over in both modes
W = np.eye(D)  # changed in place
LABELS = np.arange(N) % 2


def call(f):
    CALLS[f.__name__] = f
    return f


def parameters(dtype):
    rng = np.random.default_rng(2)
    shapes = jax.eval_shape(shared().model.init, jax.random.key(0), shared().graph, X.astype(np.float32))
    return jax.tree.map(lambda a: rng.uniform(0.5, 1.0, a.shape).astype(dtype), shapes)


def mixed(h):
    return jnp.tanh(shared().graph.propagation @ h @ A)


def cross_entropy(logits):
    return -jnp.mean(jax.nn.log_softmax(logits)[np.arange(N), LABELS]) + jnp.sum(A) * jnp.sum(logits)


def both(f):
    """f(dtype) as two calls, the second one with float64 as JAX's default."""
    name = f.__name__

    def single():
        return f(np.float32)

    def double():
        with jax.enable_x64(True):
            return f(np.float64)

    CALLS[f"{name}_32"], CALLS[f"{name}_64"] = single, double


def smoothed(h):
    return jnp.tanh(shared().graph.propagation @ h)


@both
def closure(dtype):
    KEPT.append(jax.jit(lambda h: smoothed(h)))
    return KEPT[-1](X.astype(dtype))


@both
def argument(dtype):
    KEPT.append(jax.jit(lambda graph, h: jnp.tanh(graph.propagation @ h)))
    return KEPT[-1](shared().graph, X.astype(dtype))


def keep_a_copy(double):
    """A user's program that closes over A and stays: JAX keeps A in its precision, and may refuse it in the other."""
    with jax.enable_x64(double), suppress(jax.errors.JaxRuntimeError):
        KEPT.append(jax.jit(lambda h: h @ A))
        KEPT[-1](X if double else X.astype(np.float32))


@both
def eager(dtype):
    return shared().graph.propagation @ X.astype(dtype)


@both
def gradient(dtype):
    return jax.grad(lambda h: jnp.sum(smoothed(h) ** 2))(X.astype(dtype))


@both
def logits(dtype):
    KEPT.append(jax.jit(shared().model.apply))
    return KEPT[-1](parameters(dtype), shared().graph, X.astype(dtype))


@both
def probe(dtype):
    return jg.probe(shared().model, parameters(dtype), shared().graph, X.astype(dtype), cross_entropy)


@both
def measures(dtype):
    h = jnp.asarray(X.astype(dtype))
    return jg.measures.mu(h), jg.measures.dirichlet(h, shared().graph.propagation), jg.measures.mad(h, shared().graph)


def spectrum(dtype):
    return np.sort(jg.jacobian(mixed, X.astype(dtype)).singular_values())


@call
def spectrum_32():
    return spectrum(np.float32)


@call
def spectrum_64():
    return spectrum(np.float64)


@call
def layer_spectrum():
    f, h = shared().model.layer_fn(
        parameters(np.float32), shared().graph, X.astype(np.float32), layer=1, dtype=np.float64
    )
    return np.sort(jg.jacobian(f, h, shared().graph).extremes(3).values)


@call
def exponents():
    return lyapunov(lambda h, _: mixed(h), X, np.arange(4), k=2).exponents


@call
def training():
    task = jg.tasks.node_classification(shared().ds, shared().club)
    return jg.train(shared().model, task, seeds=1, steps=3).history.train_loss


@call
def errors():
    return backward.backward_analysis(
        shared().model, parameters(np.float32), shared().graph, X.astype(np.float32), cross_entropy
    ).errors


@call
def slice_of_the_loss():
    at = (shared().model, parameters(np.float32), shared().graph, X.astype(np.float32))
    return landscape.landscape(*at, cross_entropy, points=2).loss


def changed(scale):
    """What closes over W, while W is `scale` times I."""
    W[:] = scale * np.eye(D)
    J = jg.jacobian(times_W, X)
    reach = sensitivity(times_W, X, shared().graph).norms
    loss = jg.probe(shared().model, parameters(np.float32), shared().graph, X.astype(np.float32), weighted).loss
    return J.singular_values(), reach, loss


def times_W(h):
    return shared().graph.propagation @ h @ W


def weighted(logits):
    return jnp.sum(logits) * W[0, 0]


@call
def changed_to_1():
    return changed(1.0)


@call
def changed_to_2():
    return changed(2.0)


def arrays(result):
    return [np.asarray(a) for a in jax.tree.leaves(result)]


def in_fresh_processes(names, at_once):
    """What each call gives in a process of its own, in which JAX is imported and has not computed anything."""
    found, running, waiting = {}, {}, list(names)
    while waiting or running:
        while waiting and len(running) < at_once:
            name, (reader, writer) = waiting.pop(), os.pipe()
            if (child := os.fork()) == 0:
                os.close(reader)
                with os.fdopen(writer, "wb") as pipe:
                    pickle.dump(arrays(CALLS[name]()), pipe)
                os._exit(0)
            os.close(writer)
            running[name] = (child, reader)
        name, (child, reader) = next(iter(running.items()))
        with os.fdopen(reader, "rb") as pipe:
            found[name] = pickle.load(pipe)
        os.waitpid(child, 0)
        del running[name]
    return found


if __name__ == "__main__":
    results = in_fresh_processes(CALLS, os.cpu_count() or 1)
    with open(sys.argv[1], "wb") as file:
        pickle.dump(results, file)
