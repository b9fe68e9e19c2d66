"""The short help of every command: what it is for, the options that matter, three examples. Imports nothing heavy."""

from collections.abc import Mapping
from typing import NamedTuple


class Short(NamedTuple):
    """A command's purpose, its main options with what they are (its default in brackets at the end), and examples."""

    purpose: str
    options: Mapping[str, str]
    examples: tuple[str, ...]
    usage: str = "[OPTIONS]"


_DATASET = "a name that `jaxgnn data list` shows, or the path of your own [csbm]"
_TASK = "a benchmark in its place, made from nothing: lrim, bottlenecks, recall, roads, ring_transfer, ..."
_LAYER = "gcn, mlp, gat, gatv2, gin, sage, gated_gcn, gcnii, sgc, appnp, cheb, a_dgn, grand, graphcon, g2 [gcn]"
_RESIDUAL = "none, identity, scaled, initial, gated, weighted, graphcon, gradient_gating, ssm"
_BOUND = "of every layer's matrix: none, frobenius, spectral, row, column, orthogonal, ... [none]"
_RECIPE = "a paper's settings: kipf2017, velickovic2018, chen2020, platonov2023"
_OUT = "the folder; one of its own name by default"
_JSON = "a summary as the last line of standard output"

SHORT: Mapping[str, Short] = {
    "study": Short(
        "Sweep depths and remedies on a data set; train over seeds, probe, take spectra; write one page.",
        {
            "dataset": _DATASET,
            "task": _TASK,
            "layer": _LAYER,
            "depths": "numbers of layers [2,8,32,64]",
            "remedies": "joined by +: residual, frobenius, layer_norm, ... [none,residual,residual+frobenius,mlp]",
            "bound-c": "the bounds' c is chosen from these on validation [0.25,0.5,1.0,2.0]",
            "seeds": "runs of every cell [3]",
            "steps": "updates of every run [200]",
            "width": "features of every layer; 64, or 8 on small graphs",
            "learning-rate": "of Adam [0.01]",
            "recipe": _RECIPE,
            "out": _OUT,
            "json": _JSON,
        },
        (
            "jaxgnn study",
            "jaxgnn study --dataset cora --depths 2,16,64 --seeds 3",
            "jaxgnn study --dataset cora --layer gat --remedies none,pairnorm,residual+layer_norm",
        ),
    ),
    "diagnose": Short(
        "Say why a network fails: the cause, the layer where it begins, the evidence, the cheapest remedy; one page.",
        {
            "dataset": _DATASET,
            "task": _TASK,
            "layer": _LAYER,
            "depth": "number of layers [64]",
            "width": "features of every layer [32]",
            "residual": _RESIDUAL,
            "bound": _BOUND,
            "when": "init, or trained for --steps [init]",
            "verify": "train it, its remedy and shallow references, and say whether the remedy worked",
            "distance": "hops that labels are known to depend on; estimated from the labels by default",
            "seeds": "networks [3]",
            "steps": "updates of every training [100]",
            "out": _OUT,
            "json": _JSON,
        },
        (
            "jaxgnn diagnose",
            "jaxgnn diagnose --dataset cora --layer gcn --depth 64 --verify",
            "jaxgnn diagnose --dataset cora --layer gat --depth 32 --residual identity --when trained",
        ),
    ),
    "train": Short(
        "Train a network over many seeds, and over a grid of options, in one compiled program; write one page.",
        {
            "dataset": _DATASET,
            "task": _TASK,
            "layer": _LAYER,
            "depth": "number of layers; 2,8,32 trains a network of each, and so for --layer and --width [2]",
            "width": "features of every layer [64]",
            "residual": _RESIDUAL,
            "bound": _BOUND,
            "learning-rate": "of the optimiser [0.005]",
            "steps": "updates of every run [200]",
            "seeds": "number of runs [10]",
            "grid": "values of options, name=value,value,...; every combination is trained",
            "recipe": _RECIPE,
            "out": _OUT,
            "json": _JSON,
        },
        (
            "jaxgnn train --recipe kipf2017",
            "jaxgnn train --dataset cora --depth 64 --residual identity --bound frobenius --grid bound_c=0.25,0.5,1",
            "jaxgnn train --dataset cora --layer gcn,gat --depth 2,8,32 --width 16 --seeds 3 --out run",
        ),
    ),
    "probe": Short(
        "Follow features forward, gradients and errors backward, through every layer, beside a graph-blind network.",
        {
            "dataset": _DATASET,
            "layer": _LAYER,
            "depth": "number of layers [32]",
            "width": "features of every layer [32]",
            "residual": _RESIDUAL,
            "bound": _BOUND,
            "when": "at initialisation, after the last step, or both [init,trained]",
            "control": "the graph-blind network beside it: mlp or none [mlp]",
            "steps": "updates of every run [100]",
            "seeds": "networks [3]",
            "recipe": _RECIPE,
            "out": _OUT,
            "json": _JSON,
        },
        (
            "jaxgnn probe --depth 64",
            "jaxgnn probe --dataset cora --layer gat --residual identity --when init",
            "jaxgnn probe --dataset cora --depth 64 --bound frobenius --bound-c 0.5 --residual identity",
        ),
    ),
    "spectrum": Short(
        "Take the Jacobian spectra of a network's layers; follow perturbations through its depth.",
        {
            "dataset": _DATASET,
            "layer": _LAYER,
            "depth": "number of layers [2]",
            "width": "features of every layer [64]",
            "residual": _RESIDUAL,
            "bound": _BOUND,
            "at": "layers, numbered from 0; by default the first, the middle and the last",
            "method": "exact (all singular values), krylov (both ends and the density), auto [auto]",
            "trained": "train the network first, for --steps",
            "steps": "updates, with --trained [200]",
            "exponents": "Lyapunov exponents; 0 leaves out all that goes through depth [8]",
            "out": _OUT,
            "json": _JSON,
        },
        (
            "jaxgnn spectrum --depth 8 --width 8",
            "jaxgnn spectrum --dataset cora --depth 4 --width 16 --trained --steps 100 --at 1",
            "jaxgnn spectrum --dataset karate --layer gat --residual identity --exponents 0",
        ),
    ),
    "check": Short(
        "Check the papers' theorems on many random networks, and that planted violations of each are caught.",
        {
            "statements": "their names; all by default",
            "graph": "random, or a data set, whose largest component is taken [random]",
            "widths": "features of the networks [4,16]",
            "depths": "layers of the networks [2,8,32]",
            "seeds": "networks of each shape [67]",
            "out": "a folder for results.json; none by default",
            "json": "the results as the last line of standard output",
        },
        (
            "jaxgnn check",
            "jaxgnn check --seeds 5 --depths 2,8",
            "jaxgnn check --graph karate --json",
        ),
    ),
    "reproduce": Short(
        "Reproduce figures and tables of the papers; what was measured is kept, so that it goes on where it was.",
        {
            "list": "show what there is, and what it costs",
            "all": "every one",
            "preset": "smoke takes seconds, cpu minutes on two cores, full needs an accelerator [cpu]",
            "out": "the folder [runs]",
            "json": _JSON,
        },
        (
            "jaxgnn reproduce --list",
            "jaxgnn reproduce park2024/similarity --preset smoke",
            "jaxgnn reproduce keriven2025 --preset cpu",
        ),
        "[NAMES] [OPTIONS]",
    ),
    "report": Short(
        "Join what `jaxgnn reproduce` left in a folder to one page: ours, the published value, difference, verdict.",
        {"json": _JSON},
        ("jaxgnn report", "jaxgnn report runs", "jaxgnn report runs --json"),
        "[FOLDER] [OPTIONS]",
    ),
    "plan": Short(
        "Compile a training for TPUs or GPUs that are not here: whether it fits, and what a step costs.",
        {
            "topology": "devices, as v5e:16x16, v4:2x2x1 or h100:1x1x8 [v5e:1x1]",
            "mesh": "how they are shared out [seeds=1,nodes=1]",
            "seeds": "number of runs [1]",
            "dataset": _DATASET,
            "layer": _LAYER,
            "depth": "number of layers [2]",
            "width": "features of every layer [64]",
            "remat": "what the way back computes again, to save memory [False]",
            "nodes": "a graph of so many nodes that is not here, in place of the data set",
            "degree": "its directed edges a node [14.0]",
            "no-largest": "do not look for the largest depth that fits",
            "json": "the plan as the last line of standard output",
        },
        (
            "jaxgnn plan --topology v5e:16x16 --mesh seeds=16,nodes=16 --dataset cora --depth 1000 --seeds 16",
            "jaxgnn plan --topology h200:1x1x1 --dataset cora --depth 64 --seeds 32",
            "jaxgnn plan --nodes 1e6 --degree 14 --depth 16",
        ),
    ),
    "bench": Short(
        "Measure training steps and probes beside torch and the machine's floor; wants an idle machine.",
        {
            "dataset": "a name that `jaxgnn data list` shows [csbm]",
            "against": "pyg, torch",
            "depths": "numbers of layers [2,8,64,256,1024]",
            "widths": "features of every layer [16,64,256]",
            "layers": "kinds of layers [mlp,gcn,sage,gin,gat]",
            "limit": "seconds for every measurement [20.0]",
            "plan": "predict a run from what was measured: depth=1000,nodes=1e8,devices=256,device=tpu-v4",
            "out": "the folder [jaxgnn-bench]",
            "json": _JSON,
        },
        (
            "jaxgnn bench --limit 5",
            "jaxgnn bench --dataset cora --against pyg,torch --limit 30",
            "jaxgnn bench --plan depth=1000,nodes=1e8,degree=14,devices=256,device=tpu-v4",
        ),
    ),
    "data": Short(
        "List data sets and where their files are, or download them into the cache.",
        {"json": "print JSON"},
        ("jaxgnn data list", "jaxgnn data list --json", "jaxgnn data fetch cora citeseer"),
        "list | fetch NAMES [OPTIONS]",
    ),
}


def short(command: str) -> str:
    """What `jaxgnn COMMAND --help` prints."""
    purpose, options, examples, usage = SHORT[command]
    width = max(map(len, options)) + 2
    lines = [f"usage: jaxgnn {command} {usage}", "", purpose, "", "options, with their defaults:"]
    lines += [f"  {'--' + name:<{width}}  {text}" for name, text in options.items()]
    lines += ["", "for example:", *(f"  {example}" for example in examples), ""]
    read = "" if command in ("report", "data") else ", --config FILE.toml reads options from a file"
    return "\n".join([*lines, f"jaxgnn {command} --help-all shows every option{read}."])
