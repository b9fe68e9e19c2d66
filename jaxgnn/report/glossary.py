"""Every symbol of the pages, in words: a tooltip where it stands, and a glossary at the end of the page."""

import re
from html import escape
from typing import NamedTuple


class Term(NamedTuple):
    """A symbol or word.

    Attributes:
      name: of its entry, letters and hyphens.
      shown: as the glossary shows it.
      meaning: one or two sentences.
      pattern: a regular expression of the places where it stands.
    """

    name: str
    shown: str
    meaning: str
    pattern: str


_LAYER = r"⁽[^⁾]{1,6}⁾"
# The first pattern that fits a place is taken: longer ones go first.
TERMS = (
    Term("spectral-radius", "largest |λ|", "Spectral radius: the largest modulus of an eigenvalue.", r"\|λ\|"),
    Term(
        "relative-mu",
        "relative μ",
        "μ(X)/‖X‖_F, from 0 to 1: how much of the signal differs between nodes, whatever its size. Near 0 all nodes "
        "are alike (smoothing); a small norm alone (vanishing) leaves it as it is.",
        r"relative μ|relative mu\b|μ\([XGB]"
        + _LAYER
        + r"?\) ?/ ?‖[XGB]"
        + _LAYER
        + r"?‖|μ/‖[^‖]+‖|mu\(G\) ?/ ?\|\|G\|\|",
    ),
    Term(
        "mu",
        "μ, mu",
        "μ(X) = ‖X − 1γᵀ‖_F with γ the mean row of X: the distance of a signal from equal rows at all nodes "
        "(Park & Kim 2024). 0 where all nodes are alike.",
        r"μ|\bmu\b",
    ),
    Term("energy", "E", "E = μ/√n, the distance from equal rows per node (Keriven 2025).", r"\bE\b(?= = | of |\()"),
    Term(
        "dirichlet",
        "Dirichlet energy",
        "tr Xᵀ(I − P)X: how much neighbours differ. 0 where the signal is smooth for P.",
        r"Dirichlet energ(?:y|ies)|tr [XG]" + _LAYER + r"?ᵀ\(I ?[−-] ?P\)[XG]" + f"(?:{_LAYER})?",
    ),
    Term(
        "jacobian",
        "∂X⁽ˡ⁺¹⁾/∂X⁽ˡ⁾",
        "The Jacobian of layer l: how a small change of its input changes its output.",
        r"∂X[^ ]*/∂X" + _LAYER + r"|Jacobians?",
    ),
    Term(
        "features",
        "X⁽ˡ⁾",
        "Features after l layers, one row a node; X⁽⁰⁾ enters the stack, X⁽ᴸ⁾ leaves it.",
        f"X{_LAYER}",
    ),
    Term(
        "gradient",
        "G⁽ˡ⁾",
        "∂loss/∂X⁽ˡ⁾: the gradient of the loss with respect to the features. It flows from layer L back to layer 0.",
        f"G{_LAYER}",
    ),
    Term(
        "error",
        "B⁽ˡ⁾",
        "Backward error ∂loss/∂H⁽ˡ⁾, with respect to what layer l computes before its activation.",
        f"B{_LAYER}",
    ),
    Term("pre-activation", "H⁽ˡ⁾", "P X⁽ˡ⁾ W⁽ˡ⁾: what layer l computes before its activation.", f"H{_LAYER}"),
    Term("weights", "W⁽ˡ⁾", "The weights of layer l.", f"W{_LAYER}"),
    Term(
        "span",
        "span(1), span(D̃^½1)",
        "The signals that smoothing leaves: equal rows, or rows in proportion to the root of the degree, as P has it. "
        "Off the span is the distance from them.",
        r"span\([^)]*\)|\bspan\b",
    ),
    Term(
        "lyapunov",
        "Lyapunov exponent",
        "The mean growth of a perturbation in nats a layer: above 0 it grows, below 0 it dies out.",
        r"Lyapunov exponents?",
    ),
    Term(
        "singular-value",
        "σ, singular value",
        "A factor by which a layer stretches one direction; 1 keeps its length.",
        r"singular values?|σ[₁ᵢ]?",
    ),
    Term(
        "state-matrix",
        "Λ, Lambda",
        "The state matrix of a GNN-SSM: what of a node's state the next layer keeps.",
        r"Λ|\bLambda\b",
    ),
    Term(
        "lambda",
        "λ, lambda",
        "The second largest |eigenvalue| of P: a linear layer shrinks what is not smooth by this factor at most. Near "
        "1 a graph smooths slowly.",
        r"λ[ᵢ]?|\blambda\b",
    ),
    Term("activation", "ρ", "The activation function; ρ′ is its derivative.", r"ρ′?|\brho\b"),
    Term(
        "propagation",
        "P",
        "The propagation matrix: the normalised adjacency matrix that a layer multiplies with.",
        r"\bP\b",
    ),
    Term(
        "bound",
        "c",
        "A bound on every layer's weights: they are scaled to norm c, or to c at most.",
        r"\bc\b(?= ?[=≤]| of the bound|, chosen| is chosen)",
    ),
    Term("plain", "plain", "The network without a remedy (remedy none on the command line).", r"\bplain\b"),
    Term(
        "mlp",
        "graph-blind MLP",
        "The same network without the graph (P = I): what the graph gives is beyond it.",
        r"graph-blind MLP|\bMLP\b|\bmlp\b",
    ),
    Term(
        "constant",
        "constant predictor",
        "The best prediction that is the same for every node: what can be had without learning.",
        r"constant predictor(?:'s)?",
    ),
    Term("certified", "certified", "Proved by a count of eigenvalues, not only estimated.", r"\bcertified\b"),
    Term(
        "lanczos",
        "Lanczos",
        "An iteration that finds the largest singular values from products with the matrix alone.",
        r"Lanczos",
    ),
)
_BY_NAME = {term.name: term for term in TERMS}
_ANY = re.compile("|".join(f"(?P<{term.name.replace('-', '_')}>{term.pattern})" for term in TERMS))


def marked(text: str, used: set[str]) -> str:
    """The text as HTML, the first place of every term a link to its entry; adds the terms' names to `used`."""
    parts, end, here = [], 0, set()
    for match in _ANY.finditer(text):
        name = str(match.lastgroup).replace("_", "-")
        if name in here:
            continue
        here.add(name)
        parts += [escape(text[end : match.start()]), _link(name, match.group())]
        end = match.end()
    used |= here
    return "".join(parts) + escape(text[end:])


def entries(used: set[str]) -> str:
    """The glossary of the terms that are used, as HTML."""
    rows = (
        f'<dt id="term-{t.name}">{escape(t.shown)}</dt><dd>{escape(t.meaning)}</dd>' for t in TERMS if t.name in used
    )
    return f"<dl>{''.join(rows)}</dl>"


def _link(name: str, text: str) -> str:
    return f'<a class="term" href="#term-{name}" data-tip="{escape(_BY_NAME[name].meaning)}">{escape(text)}</a>'
