"""The literature's settings by name: `--recipe NAME` puts them where the command line and --config say nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxgnn.commands.options_file import argument_of, as_arguments, options_of, said, values_of
from jaxgnn.commands.several import shapes
from jaxgnn.host.spelling import meant


@dataclass(frozen=True)
class Recipe:
    """What a paper set.

    Attributes:
      source: the paper, where in it, and the authors' code where that says more.
      published: its test scores.
      options: by the commands' names for them; the data set among them unless the command line names one.
      of_dataset: what is otherwise on some data sets.
      without: what of the paper's settings there is no option for, and what stands in its place.
    """

    source: str
    published: str
    options: Mapping[str, Any]
    without: tuple[str, ...]
    of_dataset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


# L2: the papers' programs add l2/2 ||W||^2 or its gradient, as `l2` does.
RECIPES: Mapping[str, Recipe] = {
    "kipf2017": Recipe(
        source="Kipf & Welling 2017, section 5.2",
        published="Cora 81.5, CiteSeer 70.3, PubMed 79.0 (table 2)",
        options={
            **{"dataset": "cora", "features": "row", "normalisation": "sym"},
            **{"layer": "gcn", "depth": 2, "ends": "layer", "width": 16, "activation": "relu"},
            **{"dropout": 0.5, "input-dropout": 0.5, "init-weights": "glorot"},
            **{"steps": 200, "optimiser": "adam", "learning-rate": 0.01, "l2": 5e-4},
        },
        without=(
            "L2 on the first layer alone (here on both)",
            "a stop when the validation loss exceeds its mean of 10 epochs (here all steps; the best by validation "
            "score, ties by loss)",
        ),
    ),
    "velickovic2018": Recipe(
        source="Veličković et al. 2018, section 3.3, and execute_cora.py of github.com/PetarV-/GAT",
        published="Cora 83.0, CiteSeer 72.5, PubMed 79.0 (table 2)",
        options={
            **{"dataset": "cora", "features": "row"},
            **{"layer": "gat", "layer-options": ("heads=8", "attention_dropout=0.6"), "bias": True},
            **{"depth": 2, "ends": "layer", "width": 64, "activation": "elu"},
            **{"dropout": 0.6, "input-dropout": 0.6, "init-weights": "glorot"},
            **{"steps": 1000, "patience": 100, "optimiser": "adam", "learning-rate": 5e-3, "l2": 5e-4},
        },
        of_dataset={"pubmed": {"learning-rate": 0.01, "l2": 1e-3}},
        without=(
            "patience with loss and score, each by itself (here with the score, ties by loss)",
            "up to 100,000 epochs (here 1,000 steps)",
            "on PubMed 8 heads averaged in the readout (here one)",
        ),
    ),
    "chen2020": Recipe(
        source="Chen et al. 2020 (GCNII), section 6.1, and train.py and semi.sh of github.com/chennnM/GCNII",
        published="Cora 85.5 at 64 layers (table 3)",
        options={
            **{"dataset": "cora", "features": "row", "normalisation": "sym"},
            **{"layer": "gcnii", "layer-options": ("alpha=0.1", "theta=0.5")},
            **{"depth": 64, "width": 64, "activation": "relu", "dropout": 0.6, "input-dropout": 0.6},
            **{"steps": 1500, "patience": 100, "optimiser": "adam", "learning-rate": 0.01, "l2": 5e-4},
        },
        of_dataset={
            "citeseer": {"depth": 32, "width": 256, "layer-options": ("alpha=0.1", "theta=0.6"), "dropout": 0.7}
            | {"input-dropout": 0.7},
            "pubmed": {"depth": 16, "width": 256, "layer-options": ("alpha=0.1", "theta=0.4"), "dropout": 0.5}
            | {"input-dropout": 0.5},
        },
        without=(
            "L2 of 0.01 on the graph layers (here 5e-4 on all; on PubMed the paper's as well)",
            "a ReLU after the encoder",
            "weights drawn from U(±1/√d) (here Glorot)",
            "the best step by validation loss (here by score, ties by loss)",
        ),
    ),
    "platonov2023": Recipe(
        source="Platonov et al. 2023, their GCN: train.py and model.py of github.com/yandex-research/"
        "heterophilous-graphs",
        published="Roman-empire 73.69, Amazon-ratings 48.70, Minesweeper 89.75 (ROC AUC), 1 to 5 layers",
        options={
            **{"dataset": "roman_empire", "features": "raw", "normalisation": "sym"},
            **{"layer": "gcn", "depth": 5, "width": 512, "activation": "gelu", "bias": True},
            **{"residual": "identity", "norm": "layer", "dropout": 0.2},
            **{"steps": 1000, "optimiser": "adamw", "learning-rate": 3e-5},
        },
        of_dataset={name: {"metric": "roc_auc"} for name in ("minesweeper", "tolokers", "questions")},
        without=(
            "a feed-forward network of two layers in each block (here one matrix)",
            "layer norm before P and before the readout (here after P X W)",
            "GELU and dropout after the encoder",
            "1 to 5 layers by validation (here 5: --depth 1,2,3,4,5 trains them all)",
            "a split a run (here --split for all seeds)",
        ),
    ),
}
_OF_COMMAND = {"study": {"depth": "depths"}}  # where a command has another name for an option


def with_recipe(arguments: Sequence[str], kind: type, command: str) -> list[str]:
    """The arguments with those of the recipe that they name in front, but for what they say themselves.

    Raises ValueError for a recipe that is not known, or a command that takes none.
    """
    name = argument_of(arguments, "recipe")
    if name is None:
        return list(arguments)
    known = dict(options_of(kind))
    if "recipe" not in known:
        raise ValueError(f"--recipe {name}: jaxgnn {command} takes none, train, probe, spectrum and study do")
    recipe = checked(name)
    given = said(arguments, known)
    found: list[str] = []
    for option, value in _options(recipe, command, argument_of(arguments, "dataset")).items():
        if option == "layer-options" and "layer" in given:  # they are of the recipe's layer
            continue
        if option in known and option not in given:
            found += as_arguments(f"recipe {name}", option, value, flag=known[option] is bool)
    return [*found, *arguments]


def checked(name: str) -> Recipe:
    """The recipe of this name. Raises ValueError where there is none."""
    if name not in RECIPES:
        raise ValueError(f"recipe={name!r} is not known{meant(name, RECIPES)} allowed are {', '.join(RECIPES)}")
    return RECIPES[name]


def described(name: str, command: str, parsed: Any) -> dict[str, Any]:
    """What is recorded of a recipe: its source, what the command has otherwise, and what there is no option for."""
    recipe, values = checked(name), dict(values_of(parsed))
    values |= shapes(values.get("grid", ()))
    asked = _options(recipe, command, values.get("dataset"))
    known = dict(options_of(type(parsed)))
    otherwise = {
        option: values.get(option)
        for option, value in asked.items()
        if option in known and not _same(values.get(option), value) and option != "dataset"
    }
    unknown = [f"{option} {_text(value)}" for option, value in asked.items() if option not in known]
    without = [*recipe.without, *([f"jaxgnn {command} has no option for {', '.join(unknown)}"] if unknown else [])]
    return {"name": name, "source": recipe.source, "published": recipe.published} | {
        "otherwise": otherwise,
        "without": without,
    }


def note(record: Mapping[str, Any]) -> str:
    """A recipe's record in one line."""
    parts = [f"recipe {record['name']} ({record['source']}; published: {record['published']})"]
    if record["otherwise"]:
        parts.append("as asked for: " + ", ".join(f"{n}={_text(v)}" for n, v in record["otherwise"].items()))
    return "; ".join([*parts, "not taken over: " + "; ".join(record["without"])])


def _options(recipe: Recipe, command: str, dataset: str | None) -> dict[str, Any]:
    dataset = str(recipe.options["dataset"] if dataset is None else dataset)
    options = {**recipe.options, **recipe.of_dataset.get(dataset.replace("-", "_"), {})}
    names = _OF_COMMAND.get(command, {})
    return {names.get(option, option): value for option, value in options.items()}


def _same(value: Any, asked: Any) -> bool:
    if isinstance(value, list) and not isinstance(asked, tuple):
        return value == [asked]
    return value == (list(asked) if isinstance(asked, tuple) else asked)


def _text(value: Any) -> str:
    return (",".join(map(str, value)) or "none") if isinstance(value, list | tuple) else str(value)
