"""The same network in torch: a loop of CSR products, and PyTorch Geometric's layers, GCNConv with cached normalisation.

X^(0) = x W_e + b_e, X^(l+1) = X^(l) + relu(layer(X^(l))), logits X^(L) R + b_r, with every matrix of a layer on
||.||_F = c, mean cross-entropy over the training nodes, Adam. All of it float32 on torch's own number of threads.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

import jaxgnn as jg

RIVALS = ("torch csr", "torch csr, P^T kept", "pyg")
LAYERS = {"pyg": ("gcn", "mlp", "sage", "gin", "gat"), "torch csr": ("gcn",), "torch csr, P^T kept": ("gcn",)}


def available(name: str) -> bool:
    """Whether what a rival needs is installed."""
    needed = ("torch", "torch_geometric") if name == "pyg" else ("torch",)
    return all(importlib.util.find_spec(module) is not None for module in needed)


def steps(name: str, ds: Any, graph: jg.Graph, *, count: int, **size: Any) -> Callable[[], float]:
    """A call that does `count` training steps and returns the last loss."""
    import torch

    model = network(name, ds, graph, **size)
    x, labels = torch.from_numpy(np.array(ds.x)), torch.from_numpy(np.array(ds.labels, np.int64))
    train = torch.from_numpy(np.flatnonzero(ds.train_mask))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def call() -> float:
        for _ in range(count):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x)[train], labels[train])
            loss.backward()
            optimiser.step()
        return loss.item()

    return call


def network(name: str, ds: Any, graph: jg.Graph, *, depth: int, width: int, c: float, layer: str = "gcn") -> Any:
    """The torch module of a rival, of a layer among its LAYERS: call it on x for the logits."""
    import torch
    from torch.nn.utils.parametrize import register_parametrization

    class Frobenius(torch.nn.Module):
        def forward(self, W):
            return c * W / W.norm()

    edges = torch.from_numpy(np.stack([np.asarray(graph.senders), np.asarray(graph.receivers)]).astype(np.int64))
    product = None if name == "pyg" else _product(graph, own_backward=name.endswith("P^T kept"))

    def linear():
        return torch.nn.Linear(width, width, bias=False)

    def convolution():
        if product is not None or layer == "mlp":
            made = linear()
        else:
            from torch_geometric import nn as pyg

            made = {
                "gcn": lambda: pyg.GCNConv(width, width, cached=True, bias=False),
                "sage": lambda: pyg.SAGEConv(width, width, bias=False),
                "gin": lambda: pyg.GINConv(torch.nn.Sequential(linear(), torch.nn.ReLU(), linear())),
                "gat": lambda: pyg.GATConv(width, width, bias=False),
            }[layer]()
        for module in list(made.modules()):
            if getattr(module, "weight", None) is not None:
                register_parametrization(module, "weight", Frobenius())
        return made

    def propagate(made, X):
        if layer == "mlp":
            return made(X)
        return made(X, edges) if product is None else product(made(X))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Linear(ds.x.shape[1], width)
            self.layers = torch.nn.ModuleList(convolution() for _ in range(depth))
            self.readout = torch.nn.Linear(width, ds.num_classes)

        def forward(self, x):
            X = self.encoder(x)
            for made in self.layers:
                X = X + torch.relu(propagate(made, X))
            return self.readout(X)

    torch.manual_seed(0)
    return Network()


def _product(graph: jg.Graph, *, own_backward: bool) -> Callable[[Any], Any]:
    """P X by torch's CSR product; its gradient by torch, or as P^T in CSR form made once."""
    import torch

    def csr(matrix):
        matrix = matrix.tocsr()
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data.astype(np.float32)),
            matrix.shape,
        )

    P = csr(graph.propagation.sparse())
    if not own_backward:
        return lambda X: torch.sparse.mm(P, X)
    transposed = csr(graph.propagation.sparse().T)

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, X):
            return P @ X

        @staticmethod
        def backward(ctx, G):
            return transposed @ G

    return Product.apply
