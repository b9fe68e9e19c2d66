"""Faults of the graph, P, segments, rewiring, partitions and sparse features."""

from jaxgnn.experiments.bench.faults.fault import Fault, faults

FAULTS: tuple[Fault, ...] = (
    *faults(
        "jaxgnn/graphs/connectivity.py",
        "tests/graphs/test_graph.py -k second_eigenvalue",
        ('which="LM"', 'which="LA"'),
        ("np.sort(moduli)[-2]", "np.sort(moduli)[-1]"),
        ("nodes.size < 200", "nodes.size < 2"),
        ("np.flatnonzero(labels == np.argmax(np.bincount(labels[labels >= 0])))", "np.flatnonzero(labels == 0)"),
    ),
    *faults(
        "jaxgnn/graphs/normalisation.py",
        "tests/graphs/test_normalisation.py tests/graphs/test_graph.py "
        "-k 'unit or apart or degree or metropolis or loop or sums'",
        ("np.maximum(degree[rows], degree[columns])", "np.minimum(degree[rows], degree[columns])"),
        ("degree = np.ldexp(degree, -2 * half)", "degree = np.ldexp(degree, -half)"),
        ("_SMALL, _LARGE = 1e-100, 1e100", "_SMALL, _LARGE = 0.0, np.inf"),
    ),
    *faults(
        "jaxgnn/graphs/edge_list.py",
        "tests/graphs/test_edge_list.py",
        ("kept = total != 0", "kept = total == total"),
        ("if weights is not None and not weights.all():", "if False:"),
        ("np.concatenate([edges.key, senders * n + receivers])", "np.concatenate([edges.key, edges.key])"),
        ("np.isfinite(feature).all(", "np.isfinite(feature).any("),
        ("pattern.nnz - pattern.multiply(back).nnz", "pattern.nnz"),
    ),
    *faults(
        "jaxgnn/graphs/prepare.py",
        "tests/graphs/test_edge_list.py",
        ("graphs = np.flatnonzero(n_node)", "graphs = np.arange(n_node.size)"),
        ("n_node.size > 1 and n_node[-1] == 0", "n_node[-1] == 0"),
        ("bool(np.any(edges.weights != 1))", "True"),
    ),
    *faults(
        "jaxgnn/graphs/graph.py",
        "tests/graphs/test_graph.py -k 'hops_go_round or test_aggregate or components_are_weak'",
        ("index % hops", "jnp.minimum(index, hops - 1)"),
        ("messages if mask is None else messages * mask", "messages"),
    ),
    *faults(
        "jaxgnn/graphs/connectivity.py",
        "tests/graphs/test_graph.py -k components_are_weak",
        ("directed=False)[1]", "connection='strong')[1]"),
    ),
    *faults(
        "jaxgnn/graphs/propagation.py",
        "tests/graphs/test_propagation.py -k 'heavy or adjoint or transpose or the_norm'",
        ("return out + _apply(packed.rest, X, num_rows) if packed.rest.senders.shape[0] else out", "return out"),
        ("transpose=not transpose, **params)", "transpose=transpose, **params)"),
        ("symmetric = (matrix != transposed).nnz == 0", "symmetric = ((matrix != 0) != (transposed != 0)).nnz == 0"),
        ("rows = np.flatnonzero(degree > k)", "rows = np.flatnonzero(degree > k + 1)"),
        ("return_singular_vectors=False, tol=1e-8)", "return_singular_vectors=False, tol=1e-2)"),
    ),
    *faults(
        "jaxgnn/graphs/propagation.py",
        "tests/graphs/test_packing.py -k 'slots or bound'",
        ("rows_longer * _SEGMENT_COST > degree.size", "rows_longer * _SEGMENT_COST > 2 * degree.size"),
    ),
    *faults(
        "jaxgnn/graphs/segment.py",
        "tests/graphs/test_segment.py tests/graphs/test_graph.py -k 'test_sums or empty_segment or aggregate_shares'",
        ("return total / jnp.maximum(count, 1).reshape((-1,)", "return total / (count + 1e-3).reshape((-1,)"),
        ("total / jnp.maximum(count, 1), top)", "total, top)"),
    ),
    *faults(
        "jaxgnn/graphs/rewiring.py",
        "tests/graphs/test_rewiring.py -k 'not cora'",
        ("2 * triangles / high + triangles / low", "2 * triangles / low + triangles / high"),
        ("max([1, *counts])", "min([1, *counts])"),
        ("out=x.copy(), where=degree > 0)", "out=x.copy(), where=degree > 0) * 0.9"),
        ("np.sqrt([1.0 + len(S)", "np.sqrt([2.0 + len(S)"),
        ("np.exp(temperature * (x - x.max()))", "np.exp(x - x.max())"),
        ("curvature[largest] > remove_above", "curvature[largest] >= remove_above"),
        ("max(gamma, through_i[k] + 1, through_j[l] + 1)", "max(gamma, through_i[k], through_j[l] + 1)"),
        ("changed |= {(i, j) for", "changed = {(i, j) for"),
        ("lambda edge: (-curvature[edge], edge)", "lambda edge: (curvature[edge], edge)"),
    ),
    *faults(
        "jaxgnn/graphs/partition.py",
        "tests/graphs/test_partition.py",
        ("return min((given, close), key", "return max((given, close), key"),
        ("halo = np.maximum(halo, read)", "halo = halo"),
        ("taken(np.asarray(graph.propagation.degree), order)", "np.resize(graph.propagation.degree, N)"),
        ("np.asarray(feature)[edges]", "np.asarray(feature)"),
        (
            "reader, column = place[entries.row] // m, place[entries.col]",
            "reader, column = place[entries.row] // m, entries.col",
        ),
    ),
    *faults(
        "jaxgnn/graphs/sparse_features.py",
        "tests/graphs/test_sparse_features.py",
        ("return inputs @ kernel + self.param", "return inputs @ kernel + 0 * self.param"),
        ("transposed = sp.csr_matrix(matrix.T)", "transposed = sp.csr_matrix(2 * matrix.T)"),
    ),
)
