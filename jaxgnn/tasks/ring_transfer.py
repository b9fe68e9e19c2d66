"""RingTransfer: a node reports what the opposite node of its ring holds."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from jaxgnn.graphs.normalisation import Normalisation
from jaxgnn.host.options import check_known, check_whole, checked_list
from jaxgnn.tasks.graph_transfer import checked_seed, split_of, transfer_graph
from jaxgnn.tasks.many_graphs import ManyGraphs, many_graphs

Ring = Literal["ring", "crossed_ring"]


def ring_transfer(
    n: int | None = None,
    *,
    sizes: Sequence[int] | None = None,
    kind: Ring = "ring",
    num_classes: int = 5,
    num_train: int = 1000,
    num_val: int = 100,
    num_test: int = 100,
    batch_size: int = 16,
    normalisation: Normalisation = "sym",
    hops: int | None = None,
    seed: int = 0,
) -> ManyGraphs:
    """The task of moving a class over half a ring: floor(n / 2) layers are needed to see it.

    Node n // 2 *holds* the class: its features are the class one-hot. Node 0, the source, must *output* it: its
    features are zeros, and loss (cross-entropy) and score (accuracy) are of node 0 alone. All other nodes' features
    are ones. Classes are equally frequent, so a constant predictor scores 1 / num_classes = 0.2.

    With nothing random but the class there are only `num_classes` different graphs of a size: validation and test
    graphs are training graphs again, and what is measured is whether the class arrives, not generalisation.

    Published variants: one run for each n of range(10, 31, 2) with num_train=5000, num_val=500 (a test set is not
    described: give it num_test=500); and n = 2 distance with 1000 / 100 / 100, the default here.

    Args:
      n: nodes of every ring, at least 3; 20 where neither n nor sizes is given.
      sizes: several n instead, each as often as the others: a mixture in one run, which is ours.
      kind: "ring" or "crossed_ring" (`jaxgnn.tasks.transfer_pairs`).
      num_classes: at least 2, also the number of features.
      num_train, num_val, num_test: graphs; every split is drawn from a stream of its own.
      batch_size: graphs in a batch.
      normalisation, hops: as in `jaxgnn.prepare`.
      seed: of the order of the classes.

    Raises:
      ValueError: an option is not known or out of its range, or both n and sizes are given.

    Source: Bodnar et al. 2021 (arXiv 2106.12575), Di Giovanni et al. 2023 (arXiv 2302.02941).
    """
    check_known("kind", kind, get_args(Ring))
    if n is not None and sizes is not None:
        raise ValueError(f"n={n!r} and sizes={sizes!r} are both given: allowed is one of them")
    of_rings = [20 if n is None else n] if sizes is None else checked_list("sizes", sizes)
    if not of_rings:
        raise ValueError("sizes is empty: at least one ring is needed")
    for size in of_rings:
        check_whole("n" if sizes is None else "sizes", size, least=3)
    check_whole("num_classes", num_classes, least=2)
    check_whole("num_train", num_train, least=num_classes)
    split = split_of(num_train, num_val, num_test)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(checked_seed(seed)).spawn(3)]
    draws = [_balanced(r, len(p), num_classes, len(of_rings)) for r, p in zip(streams, split, strict=True)]
    classes, which = (np.concatenate(parts) for parts in zip(*draws, strict=True))

    rings = [transfer_graph(kind, size, normalisation=normalisation, hops=hops) for size in of_rings]
    samples = [_ring(of_rings[size], label, num_classes) for label, size in zip(classes, which, strict=True)]
    xs, targets, counts = (list(column) for column in zip(*samples, strict=True))
    return many_graphs(
        [rings[size] for size in which],
        xs,
        targets,
        split=split,
        batch_size=batch_size,
        level="node",
        loss="cross_entropy",
        metric="accuracy",
        counts=counts,
    )


def _balanced(rng: np.random.Generator, count: int, classes: int, sizes: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes and numbers of the sizes, [count] each, every one as often as the others or once more or less."""
    i = np.arange(count)
    labels, which = rng.permutation(classes)[i % classes], rng.permutation(sizes)[i // classes % sizes]
    order = rng.permutation(count)
    return labels[order], which[order]


def _ring(n: int, label: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [n, classes], classes to predict [n] and the mask [n] of the one that counts."""
    x = np.ones((n, classes), np.float32)
    x[0], x[n // 2] = 0, np.arange(classes) == label
    source = np.arange(n) == 0
    return x, np.where(source, label, 0).astype(np.int32), source
