"""Mini-batches of many small graphs, padded to one shape: one compiled program serves every batch."""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Num

from jaxgnn.data.dataset import Dataset
from jaxgnn.graphs.graph import Graph
from jaxgnn.graphs.normalisation import Normalisation
from jaxgnn.graphs.prepare import prepare
from jaxgnn.graphs.sources import as_source
from jaxgnn.host.arrays import Array
from jaxgnn.host.options import check_known, check_whole, shown
from jaxgnn.tasks.checks import (
    check_known_targets,
    check_logits,
    check_ranking,
    checked_classes,
    checked_features,
    checked_mask,
    checked_rows,
    checked_split,
    checked_targets,
)
from jaxgnn.tasks.objectives import (
    METRICS,
    RANKINGS,
    Loss,
    Metric,
    constant_loss,
    entries,
    loss_value,
    maximise,
    score_value,
)
from jaxgnn.tasks.padding import masked, padded_rows, stacked, union
from jaxgnn.tasks.task import Metrics

Level = Literal["graph", "node"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class GraphBatch:
    """B graphs as one, the disjoint union of B equal ranges of nodes, and what is to be predicted; a pytree.

    Attributes:
      graph: B n_max nodes; edge_mask and node_mask are 0 where something is padding.
      x: [B n_max, f], 0 in padding.
      targets: [rows] classes or [rows, t]; rows are the B graphs, or their B n_max nodes.
      mask: [rows] which rows count, or [rows, t] which of their targets.
      kind: the loss.
      out: columns that the logits need.
    """

    graph: Graph
    x: Float[Array, "n f"]
    targets: Num[Array, "rows ..."]
    mask: Bool[Array, "rows ..."]
    kind: str = field(metadata={"static": True})
    out: int = field(metadata={"static": True})

    def loss(self, logits: Float[Array, "rows out"]) -> Float[Array, ""]:
        """Mean loss over the rows that count."""
        _check_rows(logits, self.mask.shape[0], self.out, self.x.shape[0])
        return loss_value(self.kind, logits, self.targets, self.mask)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ManyGraphs:
    """A task of G graphs in mini-batches and a pytree, made by `many_graphs`.

    Attributes:
      graphs: the graphs in a leading axis G, each padded to n_max nodes, e_max edges and p_max entries of P. Padding
        has mask and weight 0 and stands at node n_max - 1, so that receivers ascend. Where all G are one and the same
        object, the axis is 1.
      features: [G, n_max, f].
      targets: of graphs [G] classes or [G, t]; of nodes [G, n_max] classes or [G, n_max, t]. -1, or 0, where nothing
        is known that losses and scores use.
      counted: [G, n_max] which nodes are in losses and scores; None where all of them are.
      train, val, test: numbers of each split's graphs.
      batch_size: B.
      level: "graph" or "node".
      kind: the loss.
      metric: what the scores are.
      out: columns that the logits need: number of classes, or t.
      present: of the targets' shape, which of them are known and so in losses and scores; None where all are.
    """

    graphs: Graph
    features: Float[Array, "G n f"]
    targets: Num[Array, "G ..."]
    train: Int[Array, "a"]
    val: Int[Array, "b"]
    test: Int[Array, "c"]
    batch_size: int = field(metadata={"static": True})
    level: str = field(metadata={"static": True})
    kind: str = field(metadata={"static": True})
    metric: str = field(metadata={"static": True})
    out: int = field(metadata={"static": True})
    counted: Bool[Array, "G n"] | None = None
    present: Bool[Array, "G ..."] | None = None

    @property
    def graph(self) -> Graph:
        """The graph of a batch: the first training graphs."""
        return self._first().graph

    @property
    def x(self) -> Float[Array, "n f"]:
        """Its features, [B n_max, f]."""
        return self._first().x

    @property
    def maximise(self) -> bool:
        """Whether a higher score is better."""
        return maximise(self.metric)

    @property
    def full_batch(self) -> bool:
        """False: every step has a batch of its own."""
        return False

    @property
    def batches_per_epoch(self) -> int:
        """Steps in which every training graph is visited once."""
        return -(-self.train.shape[0] // self.batch_size)

    def batch(self, key: Array, step: Int[Array, ""] | int) -> GraphBatch:
        """The batch of an update; epoch number e visits the training graphs in the order drawn from fold_in(key, e).

        The last batch of an epoch is filled up with graphs that do not count.
        """
        count, step = self.train.shape[0], jnp.asarray(step)
        epoch, number = step // self.batches_per_epoch, step % self.batches_per_epoch
        order = jnp.asarray(self.train)[jax.random.permutation(jax.random.fold_in(key, epoch), count)]
        places = number * self.batch_size + jnp.arange(self.batch_size)
        return self._gather(order[jnp.minimum(places, count - 1)], places < count)

    def evaluate(self, apply: Callable[[Graph, Any], Array]) -> Metrics:
        """Losses and scores of apply(graph, x) -> logits on all splits, over all graphs of a split at once.

        The model is applied to batches of the size of `batch`, one after another.
        """
        splits = [jnp.asarray(split) for split in (self.train, self.val, self.test)]
        graphs = jnp.concatenate(splits)
        batches = -(-graphs.shape[0] // self.batch_size)
        places = jnp.arange(batches * self.batch_size).reshape(batches, self.batch_size)

        def logits_of(places):
            batch = self._gather(graphs[jnp.minimum(places, graphs.shape[0] - 1)], places < graphs.shape[0])
            logits = apply(batch.graph, batch.x)
            _check_rows(logits, batch.mask.shape[0], self.out, batch.x.shape[0])
            return logits

        rows = 1 if self.level == "graph" else self.graphs.num_nodes
        logits = jax.lax.map(logits_of, places).reshape(batches * self.batch_size * rows, self.out)
        ends = np.cumsum([split.shape[0] * rows for split in splits])
        return self._metrics(
            [logits[stop - split.shape[0] * rows : stop] for split, stop in zip(splits, ends, strict=True)]
        )

    def metrics(self, predictions: Float[Array, "G ..."]) -> Metrics:
        """Losses and scores of predictions for every graph [G, out], or for all its nodes [G, n_max, out]."""
        predictions = jnp.asarray(predictions)
        shape = (*self.features.shape[: 1 if self.level == "graph" else 2], self.out)
        if predictions.shape != shape:
            raise ValueError(f"predictions has shape {predictions.shape}: {list(shape)} is needed")
        splits = (self.train, self.val, self.test)
        return self._metrics([predictions[jnp.asarray(split)].reshape(-1, self.out) for split in splits])

    def _metrics(self, logits: list[Float[Array, "rows out"]]) -> Metrics:
        """Losses and scores of the logits of each split's rows."""
        losses, scores = [], []
        for split, found in zip((self.train, self.val, self.test), logits, strict=True):
            split = jnp.asarray(split)
            targets, mask = self._targets(split, jnp.ones(split.shape, bool))
            losses.append(loss_value(self.kind, found, targets, mask))
            scores.append(score_value(self.metric, found, targets, mask))
        train, val, test = scores
        return Metrics(losses[0], train, val, test, losses[1])

    def training_targets(self) -> Num[np.ndarray, "rows ..."]:
        """Targets of the training graphs, or of their nodes that count."""
        return self._training(self.targets)

    def constant_loss(self) -> float:
        """Training loss of the best constant predictor: class frequencies, the mean ("mse") or the median ("mae")."""
        present = None if self.present is None else self._training(self.present)
        return constant_loss(self.kind, self.training_targets(), present=present)

    def _training(self, array: Any) -> np.ndarray:
        train = np.asarray(self.train)
        return np.asarray(array)[train][... if self.level == "graph" else np.asarray(self._counted_nodes(train))]

    def _first(self) -> GraphBatch:
        places = np.arange(self.batch_size)
        count = self.train.shape[0]
        return self._gather(jnp.asarray(self.train)[np.minimum(places, count - 1)], jnp.asarray(places < count))

    def _gather(self, index: Int[Array, "B"], counts: Bool[Array, "B"]) -> GraphBatch:
        graphs = self._graphs_at(index, self.graphs)
        x = jnp.asarray(self.features)[index]
        targets, mask = self._targets(index, counts)
        return GraphBatch(
            union(masked(graphs, counts)), x.reshape(-1, x.shape[2]), targets, mask, kind=self.kind, out=self.out
        )

    def _targets(self, index: Int[Array, "B"], counts: Bool[Array, "B"]) -> tuple[Num[Array, "rows ..."], Array]:
        """Targets of these graphs or their nodes, and which of them count."""

        def rows(array: Any) -> Array:
            found = jnp.asarray(array)[index]
            return found if self.level == "graph" else found.reshape(-1, *found.shape[2:])

        mask = counts if self.level == "graph" else (self._counted_nodes(index) & counts[:, None]).reshape(-1)
        return rows(self.targets), entries(mask, None if self.present is None else rows(self.present))

    def _graphs_at(self, index: Int[Array, "B"], arrays: Any) -> Any:
        """Arrays of the graphs with these numbers."""
        if self.graphs.senders.shape[0] == 1:  # one graph for all, whatever batch a seed draws
            index = np.zeros(index.shape, np.int32)
        return jax.tree.map(lambda a: jnp.asarray(a)[index], arrays)

    def _counted_nodes(self, index: Int[Array, "B"]) -> Bool[Array, "B n"]:
        """Which nodes of these graphs are real and count."""
        real = self._graphs_at(index, self.graphs.node_mask) > 0
        return real if self.counted is None else real & jnp.asarray(self.counted)[index]


def many_graphs(
    graphs: Sequence[Any],
    xs: Sequence[Float[Array, "n f"]],
    targets: Num[Array, "G ..."] | Sequence[Num[Array, "n ..."]],
    *,
    split: tuple[Int[Array, "a"], Int[Array, "b"], Int[Array, "c"]],
    batch_size: int,
    normalisation: Normalisation = "sym",
    undirected: bool | None = None,
    level: Level = "graph",
    loss: Loss = "cross_entropy",
    metric: Metric = "accuracy",
    counts: Sequence[Bool[Array, "n"]] | None = None,
) -> ManyGraphs:
    """The task of predicting something of every graph, or of every node, of G graphs.

    Every graph is prepared once and padded to the largest: memory is G (n_max f + e_max + p_max) numbers, and a batch
    is computed on batch_size n_max nodes, so that one large graph among small ones makes all of them cost as much.
    Where the G prepared graphs are one and the same object it is stored once, and seeds side by side share it.

    Args:
      graphs: G graphs from `jaxgnn.prepare`, or jraph.GraphsTuples of one graph each, which are prepared here.
      xs: of each graph [n, f].
      targets: level "graph": [G] classes for "cross_entropy", else [G, t]. Level "node": of each graph [n] classes,
        else [n, t]. Classes may be one-hot rows. Of several columns NaN is a target that is not known, and left out of
        losses and scores. Targets of graphs in no split, and of nodes that do not count, may be anything.
      split: numbers of the training, validation and test graphs.
      batch_size: graphs in a batch.
      normalisation, undirected: of the GraphsTuples (`jaxgnn.prepare`); a prepared graph stays as it is.
      level: "graph" needs a model with a `pool`, "node" one without.
      loss: "cross_entropy", "bce" (binary cross-entropy of each column; targets are 0 and 1), "mse" or "mae".
      metric: "accuracy", "roc_auc" or "average_precision" for the first two (with "cross_entropy" the last two are for
        two classes, else means over columns); "mse", "mae" or "log10_mse" for the others.
      counts: of each graph [n], which nodes' targets are in losses and scores (level "node"), as booleans or 0 and 1;
        None for all.

    Raises:
      ValueError: graphs, features, targets and splits do not fit each other, a number is NaN or infinite, a class is
        negative, a split is empty or overlaps another, or an option is not known or does not fit the others.
    """
    check_known("level", level, get_args(Level))
    check_known("loss", loss, METRICS)
    if not isinstance(metric, str) or metric not in METRICS[loss]:
        allowed = ", ".join(METRICS[loss])
        raise ValueError(f"metric={shown(metric)} does not go with loss={loss!r}: allowed are {allowed}")
    check_whole("batch_size", batch_size, least=1)
    for name, values in (("graphs", graphs), ("xs", xs), ("targets", targets)):
        if not hasattr(values, "__len__") or isinstance(values, str):
            raise ValueError(f"{name}={shown(values)}: a list with one for each graph is needed")
        if len(values) != len(graphs):
            raise ValueError(f"{name} has length {len(values)} for {len(graphs)} graphs: one for each is needed")
    parts = checked_split(split, len(graphs))
    prepared = _prepared(graphs, normalisation, undirected)
    sizes = [graph.num_nodes for graph in prepared]
    features = checked_features(xs, sizes)
    counted = _checked_counts(counts, sizes, level)
    rows = _rows(targets, prepared, counted, parts, level, loss)
    if loss == "cross_entropy" and metric in RANKINGS and rows.out != 2:
        raise ValueError(f"metric={metric!r} is for two classes, but there are {rows.out}: accuracy is for any")
    for name, part in parts.items():
        found = np.concatenate([rows.targets[i][rows.counted[i]] for i in part])
        if not found.size:
            raise ValueError(
                f"the {name} split has no nodes{' that count' if counts is not None else ''}: each split needs one"
            )
        known: Any = True
        if rows.present is not None:
            known = np.concatenate([rows.present[i][rows.counted[i]] for i in part])
            check_known_targets(f"the {name} split", known)
        check_ranking(metric, f"the {name} split", found, known)
    shared = all(graph is prepared[0] for graph in prepared)
    return ManyGraphs(
        graphs=stacked(prepared[:1] if shared else prepared),
        features=padded_rows(features, max(1, *sizes)),
        targets=rows.stacked(rows.targets, level),
        **parts,
        batch_size=int(batch_size),
        level=level,
        kind=loss,
        metric=metric,
        out=rows.out,
        counted=None if counted is None else padded_rows(counted, max(1, *sizes)),
        present=None if rows.present is None else rows.stacked(rows.present, level),
    )


class _Rows(NamedTuple):
    """Of each graph its targets [rows] or [rows, t], which of them are known (None: all), and which rows count."""

    targets: list[np.ndarray]
    present: list[np.ndarray] | None
    counted: list[np.ndarray]
    out: int

    def stacked(self, arrays: list[np.ndarray], level: str) -> np.ndarray:
        """In a leading axis of graphs; of nodes, padded to the largest graph."""
        length = max(1, *(array.shape[0] for array in arrays))
        return np.concatenate(arrays) if level == "graph" else padded_rows(arrays, length)


def _rows(targets: Any, graphs: list[Graph], counts: Any, parts: dict[str, np.ndarray], level: str, loss: str) -> _Rows:
    sizes = [graph.num_nodes for graph in graphs]
    given = checked_rows(targets, sizes, level, loss)
    counted = [np.ones(len(rows), bool) for rows in given]
    if level == "node":
        counted = [np.ones(g.num_nodes, bool) if g.node_mask is None else np.asarray(g.node_mask) > 0 for g in graphs]
        if counts is not None:
            counted = [real & mask for real, mask in zip(counted, counts, strict=True)]
    starts = np.cumsum([0, *(len(rows) for rows in given)])
    in_split = np.isin(np.arange(len(graphs)), np.concatenate(list(parts.values())))
    counts_at_all = np.concatenate(counted)
    needed = counts_at_all & np.repeat(in_split, np.diff(starts))

    def row(number: int) -> str:
        graph = int(np.searchsorted(starts, number, side="right")) - 1
        return f"graph {graph}" if level == "graph" else f"node {number - starts[graph]} of graph {graph}"

    together, present = np.concatenate(given), None
    if loss == "cross_entropy":
        columns = together.shape[1]
        together = checked_classes("targets", together, needed, row=row)
        out = columns if columns > 1 else int(together[counts_at_all].max(initial=-1)) + 1
    else:
        together, present = checked_targets("targets", together, needed, loss=loss, row=row)
        out = together.shape[1]
    cut = starts[1:-1]
    return _Rows(np.split(together, cut), None if present is None else np.split(present, cut), counted, out)


def _checked_counts(counts: Sequence[Any] | None, sizes: list[int], level: str) -> list[np.ndarray] | None:
    if counts is None:
        return None
    if level != "node":
        raise ValueError(f"counts goes with level='node', not level={level!r}")
    if len(counts) != len(sizes):
        raise ValueError(f"counts has length {len(counts)} for {len(sizes)} graphs: one for each is needed")
    return [
        checked_mask(f"counts of graph {number}", mask, n)
        for number, (mask, n) in enumerate(zip(counts, sizes, strict=True))
    ]


def _source(number: int, graph: Any) -> Any:
    """A GraphsTuple of what `jaxgnn.from_networkx` and its like take."""
    try:
        found = as_source(f"graph {number}", graph)
    except ValueError as error:
        raise ValueError(f"graph {number}: {error}") from error
    return found.graph if isinstance(found, Dataset) else found


def _prepared(graphs: Sequence[Any], normalisation: Normalisation, undirected: bool | None) -> list[Graph]:
    prepared, said, options = [], set(), {"normalisation": normalisation, "undirected": undirected}
    for number, graph in enumerate(graphs):
        graph = graph if isinstance(graph, Graph) else _source(number, graph)
        given = graph.graphs_tuple if isinstance(graph, Graph) else graph
        if (held := np.size(getattr(given, "n_node", 0))) != 1:
            raise ValueError(f"graph {number} is a batch of {held} graphs: each graph is given by itself")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                made = graph if isinstance(graph, Graph) else prepare(graph, **options)
        except ValueError as error:
            raise ValueError(f"graph {number}: {error}") from error
        for warning in caught:  # of each kind once, not once a graph
            text = str(warning.message)
            if (kind := re.sub(r"\d+", "", text)) not in said:
                said.add(kind)
                warnings.warn(f"graph {number}: {text}", warning.category, stacklevel=3)
        prepared.append(made)
        for what, values in (
            ("a normalisation", [g.propagation.normalisation for g in (prepared[0], made)]),
            ("edge features", [_feature_shapes(g) for g in (prepared[0], made)]),
            ("hops", [None if g.khops is None else g.khops.senders.shape[0] for g in (prepared[0], made)]),
        ):
            if values[0] != values[1]:
                raise ValueError(f"graph {number} has {what} {values[1]}, but graph 0 has {values[0]}: all must agree")
    return prepared


def _feature_shapes(graph: Graph) -> Any:
    shapes = jax.tree.map(lambda a: f"[e{''.join(f', {k}' for k in a.shape[1:])}]", graph.edge_features)
    return shapes if shapes is None or isinstance(shapes, str) else str(shapes)


def _check_rows(logits: Array, rows: int, out: int, num_nodes: int) -> None:
    hint = ""
    if logits.ndim == 2 and logits.shape[0] != rows:
        hint = ": level='graph' needs a model with a pool" if logits.shape[0] == num_nodes else ""
        hint = ": level='node' needs a model with pool='none'" if rows == num_nodes else hint
    check_logits(logits, rows, out, hint=hint)
