"""Link prediction on a csbm: a task with pairs of nodes, scored by the inner product of their outputs."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

import jaxgnn as jg
from jaxgnn.graphs.graph import Graph
from jaxgnn.host.arrays import Array
from jaxgnn.tasks.objectives import loss_value, score_value
from jaxgnn.tasks.task import Metrics


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LinkPrediction:
    """A full-batch task and a pytree: is a pair of nodes joined? The score of (u, v) is the outputs' Z_u . Z_v.

    Attributes:
      graph: without the pairs that are asked for.
      x: [n, f].
      pairs: [m, 2] nodes.
      joined: [m, 1] 1 or 0.
      train_mask, val_mask, test_mask: [m].
    """

    graph: Graph
    x: Float[Array, "n f"]
    pairs: Int[Array, "m 2"]
    joined: Float[Array, "m 1"]
    train_mask: Bool[Array, "m"]
    val_mask: Bool[Array, "m"]
    test_mask: Bool[Array, "m"]

    maximise = True
    full_batch = True

    def batch(self, key: Array, step: Array) -> "LinkPrediction":
        """The task itself at every step."""
        del key, step
        return self

    def loss(self, logits: Float[Array, "n out"]) -> Float[Array, ""]:
        """Mean binary cross-entropy over the training pairs, in nats."""
        return loss_value("bce", self._scores(logits), self.joined, self.train_mask)

    def evaluate(self, apply: Any) -> Metrics:
        """Losses and areas under the ROC curve of apply(graph, x) -> outputs [n, out] on all splits."""
        scores = self._scores(apply(self.graph, self.x))
        masks = (self.train_mask, self.val_mask, self.test_mask)
        losses = [loss_value("bce", scores, self.joined, mask) for mask in masks[:2]]
        train, val, test = (score_value("roc_auc", scores, self.joined, mask) for mask in masks)
        return Metrics(losses[0], train, val, test, losses[1])

    def constant_loss(self) -> float:
        """ln 2: there are as many pairs of either kind."""
        return float(np.log(2))

    def _scores(self, Z: Float[Array, "n out"]) -> Float[Array, "m 1"]:
        u, v = jnp.asarray(self.pairs).T
        return jnp.sum(Z[u] * Z[v], axis=1, keepdims=True)


def link_prediction(num_nodes: int, seed: int) -> LinkPrediction:
    """Of a csbm's edges 60% are left in the graph, 20% train, 10% validate, 10% test; as many pairs without an edge."""
    ds = jg.load_dataset("csbm", num_nodes=num_nodes, average_degree=10.0, seed=seed, train_per_class=num_nodes // 10)
    rng = np.random.default_rng(seed)
    edges = np.stack([np.asarray(ds.graph.senders), np.asarray(ds.graph.receivers)], axis=1)
    edges = rng.permutation(edges[edges[:, 0] < edges[:, 1]])
    kept = round(0.6 * len(edges))
    asked = edges[kept:]
    taken = np.eye(num_nodes, dtype=bool)
    taken[edges[:, 0], edges[:, 1]] = taken[edges[:, 1], edges[:, 0]] = True
    free = np.argwhere(np.triu(~taken))
    others = free[rng.choice(len(free), len(asked), replace=False)]
    # Both kinds in the same random order: the same split of each.
    place = np.tile(np.arange(len(asked)) / len(asked), 2)
    left = edges[:kept]
    graph = jg.prepare(
        senders=np.concatenate([left[:, 0], left[:, 1]]),
        receivers=np.concatenate([left[:, 1], left[:, 0]]),
        num_nodes=num_nodes,
    )
    return LinkPrediction(
        graph=graph,
        x=ds.x,
        pairs=np.concatenate([asked, others]),
        joined=np.repeat([1.0, 0.0], len(asked)).astype(np.float32)[:, None],
        train_mask=place < 0.5,
        val_mask=(place >= 0.5) & (place < 0.75),
        test_mask=place >= 0.75,
    )
