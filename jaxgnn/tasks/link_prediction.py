"""Link prediction: is a pair of nodes joined? Edges that are asked for are not in the graph that messages run on."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxgnn.data.dataset import Dataset, edge_parts
from jaxgnn.data.own import own_features
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.prepare import prepare
from jaxgnn.graphs.sources import as_source
from jaxgnn.host.arrays import Array
from jaxgnn.host.memory import require_memory
from jaxgnn.host.options import check_known, check_seed, check_whole, is_number
from jaxgnn.tasks.objectives import loss_value, score_value
from jaxgnn.tasks.pairs import Scoring, pair_scores
from jaxgnn.tasks.task import Metrics

_RANKINGS = ("roc_auc", "average_precision")
_OPTIONS = ("normalisation", "loops", "backend", "hops")  # of the graph of messages


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LinkPrediction:
    """A full-batch task and a pytree: the score of a pair (u, v) is of the outputs at both ends.

    Attributes:
      graph: of the edges that carry messages; none of the pairs is one of them.
      x: [n, f].
      pairs: [m, 2] nodes.
      joined: [m, 1] 1 for an edge, 0 for a pair that is none.
      train_mask, val_mask, test_mask: [m].
      out: columns of the outputs; any number goes, of "bilinear" any even one.
      metric: what the scores are.
    """

    graph: Graph
    x: Float[Array, "n f"]
    pairs: Int[Array, "m 2"]
    joined: Float[Array, "m 1"]
    train_mask: Bool[Array, "m"]
    val_mask: Bool[Array, "m"]
    test_mask: Bool[Array, "m"]
    out: int = field(metadata={"static": True})
    metric: str = field(metadata={"static": True})
    scoring: Scoring = field(default="dot", metadata={"static": True})

    @property
    def maximise(self) -> bool:
        """True: a higher score is better."""
        return True

    @property
    def full_batch(self) -> bool:
        """True: every step is taken on all training pairs."""
        return True

    def batch(self, key: Array, step: Array) -> "LinkPrediction":
        """The task itself at every step."""
        del key, step
        return self

    def scores(self, outputs: Float[Array, "n out"]) -> Float[Array, "m"]:
        """Of every pair, what `scoring` says of its outputs (`jaxgnn.tasks.pairs.pair_scores`)."""
        return pair_scores(outputs, self.pairs, self.scoring, 1, symmetric=True)[:, 0]

    def loss(self, logits: Float[Array, "n out"]) -> Float[Array, ""]:
        """Mean binary cross-entropy over the training pairs, in nats."""
        return loss_value("bce", self.scores(logits)[:, None], self.joined, self.train_mask)

    def evaluate(self, apply: Any) -> Metrics:
        """Losses and scores of apply(graph, x) -> outputs [n, out] on all splits."""
        scores = self.scores(apply(self.graph, self.x))
        masks = (self.train_mask, self.val_mask, self.test_mask)
        losses = [loss_value("bce", scores[:, None], self.joined, mask) for mask in masks[:2]]
        train, val, test = (link_score(self.metric, scores, self.joined[:, 0], mask) for mask in masks)
        return Metrics(losses[0], train, val, test, losses[1])

    def constant_loss(self) -> float:
        """The training loss of the best score that is the same for every pair."""
        share = float(np.asarray(self.joined)[np.asarray(self.train_mask)].mean())
        return float(-share * np.log(share) - (1 - share) * np.log(1 - share))


def link_prediction(
    graph: Any,
    x: Any = None,
    *,
    fractions: tuple[float, float, float, float] = (0.6, 0.2, 0.1, 0.1),
    negatives: int = 1,
    metric: str = "roc_auc",
    out: int = 16,
    scoring: Literal["dot", "bilinear"] = "dot",
    seed: int = 0,
    **options: Any,
) -> LinkPrediction:
    """Link prediction on one undirected graph, split by edges.

    Args:
      graph: a Dataset, a GraphsTuple of one graph or what `jaxgnn.from_networkx` and its like take; loops are left out.
      x: [n, f] features; by default those of the Dataset or GraphsTuple, or the identity.
      fractions: of the edges that carry messages, and of those asked for in training, validation and test; they add up
        to 1. No edge is in two of them, and both directions of one go together.
      negatives: pairs without an edge, drawn for each edge that is asked for, uniformly and without replacement.
      metric: "roc_auc", "average_precision", "mrr", or "hits@K" for a whole K.
      out: columns of the outputs that pairs are scored by, an even number for "bilinear".
      scoring: "dot", Z_u . Z_v; or "bilinear", A_u . B_v with A and B the halves of the outputs, both ways.
      seed: of the order of the edges and of the pairs without one.
      options: normalisation, loops, backend and hops of `jaxgnn.prepare` for the graph of messages.

    Raises ValueError for a graph that is not undirected, fractions that leave a split empty, more pairs without an edge
    than there are, an unknown metric or option; MemoryError where so many pairs are asked for that all are listed, and
    they do not fit.

    Source: Kipf & Welling 2016 (the inner product); Hu et al. 2020, OGB (hits@K, mrr).
    """
    check_seed("seed", seed)
    for name, value in (("negatives", negatives), ("out", out)):
        check_whole(name, value, least=1)
    _check_metric(metric)
    check_known("scoring", scoring, ("dot", "bilinear"))
    if scoring == "bilinear" and out % 2:
        raise ValueError(f"out={out}: an even number is needed for scoring='bilinear', half of them for each end")
    if unknown := sorted(set(options) - set(_OPTIONS)):
        raise ValueError(f"option {unknown[0]!r} is not known: allowed are {', '.join(_OPTIONS)}")
    source = as_source("link_prediction", graph)
    if isinstance(source, Dataset):
        x, source = (source.x if x is None else x), source.graph
    x = source.nodes if x is None else x
    if np.shape(source.n_node) != (1,):
        raise ValueError(f"link_prediction: one graph is needed, and the GraphsTuple holds {np.size(source.n_node)}")
    n = int(source.n_node[0])
    x = own_features("link_prediction", x, n)
    edges = _undirected(source, n)
    counts = _counts(len(edges), fractions)
    rng = np.random.default_rng(seed)
    edges = rng.permutation(edges)
    messages, asked = edges[: counts[0]], edges[counts[0] :]
    others = _without_edge(rng, edges, n, negatives * len(asked))
    split = np.repeat([0, 1, 2], counts[1:])
    place = np.concatenate([split, np.repeat(split, negatives)])
    prepared = prepare(
        senders=np.concatenate([messages[:, 0], messages[:, 1]]),
        receivers=np.concatenate([messages[:, 1], messages[:, 0]]),
        num_nodes=n,
        **options,
    )
    joined = np.repeat(np.float32([1, 0]), [len(asked), len(others)])[:, None]
    pairs = np.concatenate([asked, others]).astype(np.int32)
    return LinkPrediction(
        prepared, x, pairs, joined, place == 0, place == 1, place == 2, out=int(out), metric=metric, scoring=scoring
    )


def link_score(
    metric: str, scores: Float[Array, "m"], joined: Float[Array, "m"], mask: Bool[Array, "m"]
) -> Float[Array, ""]:
    """The metric over the pairs of a mask.

    hits@K is the share of edges with a score above the K-th highest of the pairs without one (1 where there are fewer
    than K); mrr the mean of 1 / rank of every edge among them, where a tie counts half. NaN for scores that are not
    finite.
    """
    if metric in _RANKINGS:
        return score_value(metric, jnp.stack([jnp.zeros_like(scores), scores], axis=1), _classes(joined), mask)
    mask = jnp.asarray(mask)
    edge, other = mask & (joined > 0.5), mask & (joined < 0.5)
    count = jnp.maximum(jnp.sum(edge), 1)
    ordered = jnp.sort(jnp.where(other, scores, -jnp.inf))  # those of others come last
    finite = jnp.where(mask, scores, 0)
    unknown = jnp.where(jnp.isfinite(finite).all(), 0.0, jnp.nan).astype(scores.dtype)
    if metric == "mrr":
        size = scores.shape[0]
        above = size - jnp.searchsorted(ordered, scores, side="right")
        level = size - jnp.searchsorted(ordered, scores, side="left") - above
        rank = 1 + above + level / 2
        return jnp.sum(jnp.where(edge, 1 / rank, 0)).astype(scores.dtype) / count + unknown
    K = int(metric.removeprefix("hits@"))
    threshold = ordered[-K] if scores.shape[0] >= K else jnp.asarray(-jnp.inf, scores.dtype)
    return jnp.sum(edge & (scores > threshold)).astype(scores.dtype) / count + unknown


def _classes(joined: Float[Array, "m"]) -> Int[Array, "m"]:
    return (jnp.asarray(joined) > 0.5).astype(jnp.int32)


def _check_metric(metric: Any) -> None:
    if metric not in (*_RANKINGS, "mrr") and not re.fullmatch(r"hits@[1-9]\d*", str(metric)):
        raise ValueError(f"metric={metric!r}: allowed are {', '.join(_RANKINGS)}, mrr and hits@K for a whole K above 0")


def _undirected(graph: Any, n: int) -> Int[np.ndarray, "m 2"]:
    """Edges u < v, each once. Raises ValueError where one has no edge back, or there are weights."""
    if any(part is not None for part in edge_parts(graph.edges)):
        raise ValueError("link_prediction: the edges' weights and features would be lost: graph._replace(edges=None)")
    u, v = (np.asarray(side, np.int64) for side in (graph.senders, graph.receivers))
    keys, back = np.unique(u * n + v), np.unique(v * n + u)
    if not np.array_equal(keys, back):
        one = np.setxor1d(keys, back)[0]
        pair = f"nodes {one // n} and {one % n}"
        raise ValueError(f"link_prediction: {pair} have an edge one way: an undirected graph is needed")
    keys = keys[keys // n < keys % n]
    return np.stack([keys // n, keys % n], axis=1)


def _counts(edges: int, fractions: Any) -> Int[np.ndarray, "4"]:
    numbers = list(fractions) if isinstance(fractions, tuple | list | np.ndarray) else []
    if len(numbers) != 4 or not all(is_number(f) and f >= 0 for f in numbers) or abs(sum(numbers) - 1) > 1e-9:
        raise ValueError(f"fractions={fractions!r}: allowed are four numbers of at least 0 that add up to 1")
    ends = np.round(np.cumsum(numbers) * edges).astype(int)
    counts = np.diff(ends, prepend=0)
    if (counts[1:] == 0).any():
        raise ValueError(f"fractions={fractions!r} of {edges} edges leave {counts.tolist()}: every split needs one")
    return counts


def _without_edge(
    rng: np.random.Generator, edges: Int[np.ndarray, "m 2"], n: int, count: int
) -> Int[np.ndarray, "c 2"]:
    """Pairs u < v that are no edges, all different."""
    there = edges[:, 0] * n + edges[:, 1]
    free = n * (n - 1) // 2 - len(there)
    if count > free:
        raise ValueError(f"{count} pairs without an edge are asked for, and there are {free}: fewer negatives go")
    if 3 * count > free or n < 2000:  # all of them are listed where many are asked for
        require_memory(32 * n * (n - 1), f"all pairs of {n} nodes", "fewer negatives", on_host=True)
        u, v = np.triu_indices(n, 1)
        others = np.setdiff1d(u.astype(np.int64) * n + v, there, assume_unique=True)
        chosen = others[rng.choice(others.size, count, replace=False)]
        return np.stack([chosen // n, chosen % n], axis=1)
    found = np.zeros(0, np.int64)
    while found.size < count:
        u, v = np.sort(rng.integers(0, n, (2, 2 * (count - found.size) + 16)), axis=0)
        keys = (u * n + v)[u != v]
        keys = keys[~np.isin(keys, there)]
        found = np.concatenate([found, keys])
        found = found[np.sort(np.unique(found, return_index=True)[1])]  # in the order that they were drawn in
    found = found[:count]
    return np.stack([found // n, found % n], axis=1)
