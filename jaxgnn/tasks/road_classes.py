"""Roads as a benchmark: classes by k-hop eccentricity, and what is known of them within fewer hops."""

import inspect
from typing import Any

import numpy as np

from jaxgnn.data.roads import local_eccentricity, quantile_classes, road_network, roads
from jaxgnn.graphs.normalisation import Normalisation
from jaxgnn.graphs.prepare import prepare
from jaxgnn.tasks.benchmark import Benchmark, doubling, make_benchmark
from jaxgnn.tasks.node_classification import node_classification


def roads_benchmark(*, normalisation: Normalisation = "sym", hops: int | None = None, **options: Any) -> Benchmark:
    """`jaxgnn.data.roads`, its features as they are, accuracy as the score.

    `within[j]` puts the nodes into classes by their j-hop eccentricity, in the same way: it knows what j layers can
    see, but another function of it may be better.

    Args:
      normalisation, hops: as in `jaxgnn.prepare`; options: of `jaxgnn.data.roads`.

    Raises ValueError as `jaxgnn.data.roads` does.
    """
    ds = roads(**options)
    asked = {name: one.default for name, one in inspect.signature(roads).parameters.items()} | options
    graph = prepare(ds.graph, normalisation=normalisation, hops=hops)
    task = node_classification(ds, graph, features="raw")
    classes = np.arange(ds.num_classes)

    def logits(labels: np.ndarray) -> np.ndarray:
        return 50.0 * (labels[:, None] == classes)

    shared = {name: asked[name] for name in ("num_nodes", "kind", "removed", "seed")}
    _, pairs, lengths = road_network(**shared)
    within = {
        j: logits(quantile_classes(local_eccentricity(pairs, lengths, len(ds.x), j), ds.num_classes))
        for j in doubling(asked["radius"])
    }
    n, roads_each = len(ds.x), 2 * len(pairs) / len(ds.x)
    return make_benchmark(
        "roads",
        task,
        task,
        oracle=logits(ds.labels),
        within=within,
        facts=[
            f"A {asked['kind']} network of {n} crossings with {roads_each:.2f} roads each; {ds.num_classes} classes by "
            f"the eccentricity within {asked['radius']} hops, in lengths; {int(ds.train_mask.sum())} crossings train, "
            f"{int(ds.val_mask.sum())} validate, {int(ds.test_mask.sum())} test.",
            "Within k hops: the classes of the k-hop eccentricity, cut in the same way; others may be better.",
        ],
    )
