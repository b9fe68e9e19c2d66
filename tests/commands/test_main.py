"""The command line: exit codes, one-line sentences, nothing lost or half written."""

import io
import json
import os
import re
import signal
import subprocess
import sys

import jax
import matplotlib.image
import numpy as np
import pytest

import jaxgnn as jg
from jaxgnn.commands import study as study_module
from jaxgnn.commands.main import main
from jaxgnn.commands.setting import ModelConfig
from jaxgnn.host import memory
from jaxgnn.host.streams import tolerant
from jaxgnn.layers import LAYERS
from jaxgnn.network.stack import INITIALISERS
from jaxgnn.report.terminal import print_table

TRAIN = [
    *("train", "--dataset", "karate", "--layer", "gat", "--layer-options", "heads=2", "--depth", "4", "--width", "6"),
    *("--residual", "identity", "--bound", "frobenius", "--bound-c", "0.5", "--seeds", "2", "--steps", "25"),
    *("--grid", "bound_c=0.25,0.5"),
]
QUICK = ["--depths", "1", "--remedies", "none", "--seeds", "1", "--steps", "2", "--width", "3"]


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Runs a command that must be refused: exit code 2, one line on standard error (returned), nothing written."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        assert main(list(arguments)) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert "Traceback" not in err
        assert [p for p in sorted(tmp_path.rglob("*")) if p not in before and p.is_file()] == []
        return err

    return run


@pytest.fixture
def user_file(tmp_path, monkeypatch):
    """Writes questions.npz, a file without a known checksum, into a folder that JAXGNN_DATA names."""

    def write(**changes):
        n = 12
        masks = np.tile(np.arange(n) % 3, (10, 1))
        arrays = {
            "node_features": np.ones((n, 4), np.float32),
            "node_labels": np.arange(n) % 2,
            "edges": np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1),
            "train_masks": masks == 0,
            "val_masks": masks == 1,
            "test_masks": masks == 2,
        }
        folder = tmp_path / "data" / "heterophilous"
        folder.mkdir(parents=True)
        np.savez(folder / "questions.npz", **(arrays | changes))
        monkeypatch.setenv("JAXGNN_DATA", str(tmp_path / "data"))

    return write


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["study", "--layer", "gnc"], ["layer='gnc'", "allowed are gcn, mlp"]),
        (["train", "--layer", "gnc"], ["layer='gnc'", "allowed are gcn, mlp"]),
        (["probe", "--layer", "gnc"], ["layer='gnc'", "allowed are gcn, mlp"]),
        (["probe", "--when", "init,later"], ["when='later'", "init, trained"]),
        (["probe", "--when", "init,init"], ["when='init,init'", "each once"]),
        (["probe", "--record-every", "7"], ["record_every=7", "multiples of 10"]),
        (["train", "--record-every", "7"], ["record_every=7", "multiples of 10"]),
        (["train", "--record-ranks"], ["record_ranks=True", "record_every"]),
        (["probe", "--control", "cnn"], ["--control", "'cnn'", "'mlp'"]),
        (["probe", "--seeds", "0"], ["seeds=0", "1 and more"]),
        (["probe", "--ends", "layer", "--depth", "2"], ["leaves no block between the ends"]),
        (["train", "--layer", "gnc", "--layer-options", "heads=2"], ["layer='gnc'", "allowed are gcn, mlp"]),
        (["train", "--residual", "skip"], ["residual='skip'", "identity, scaled"]),
        (["train", "--norm", "instance"], ["norm='instance'", "layer, batch"]),
        (["train", "--bound", "lipschitz"], ["bound='lipschitz'", "frobenius, frobenius_soft"]),
        (["train", "--optimiser", "lion"], ["--optimiser", "'lion'", "'adamw', 'adam', 'sgd'"]),
        (["train", "--optimiser", "sgd", "--weight-decay", "0.1"], ["weight_decay=0.1", "AdamW"]),
        (["train", "--schedule", "linear"], ["--schedule", "'linear'", "'warmup_cosine'"]),
        (["train", "--batching", "pmap"], ["--batching", "'pmap'", "'vmap'"]),
        (
            ["train", "--grid", "bound=0.5,1"],
            ["grid option 'bound'", "learning_rate, weight_decay, l2, bound_c, resid"],
        ),
        (["train", "--grid", "bound_c=0.5,large"], ["grid option 'bound_c'", "'large'", "a number is needed"]),
        (["train", "--bound", "row", "--grid", "bound_c=0.5,-1"], ["bound_c=-1", "above 0"]),
        (["train", "--bound", "row", "--grid", "bound_c=0.5,l2=nan"], ["l2=nan", "0 and more"]),
        (["train", "--grid", "l2=1,l2=2"], ["l2 is given twice"]),
        (["train", "--grid", "0.5,1"], ["'0.5' has no name", "name=value"]),
        (
            ["train", "--layer", "gat", "--layer-options", "head=2"],
            ["layer option 'head'", "for gat are heads, concat"],
        ),
        (["train", "--layer", "gat", "--layer-options", "heads=many"], ["'heads'", "'many'", "int is needed"]),
        (["train", "--layer", "gat", "--layer-options", "concat=2"], ["'concat'", "2", "bool is needed"]),
        (["train", "--layer", "gat", "--layer-options", "heads=1,2"], ["'heads' has 2 values", "one is needed"]),
        (
            ["train", "--layer", "gat", "--layer-options", "heads=5", "--width", "8"],
            ["heads=5", "features=8", "divide"],
        ),
        (["train", "--depth", "0"], ["depth=0", "1 and more"]),
        (["train", "--steps", "0"], ["steps=0", "1 and more"]),
        (["train", "--seeds", "0"], ["seeds=0", "1 and more"]),
        (["train", "--learning-rate", "-1"], ["learning_rate=-1", "above 0"]),
        (["train", "--dropout", "1"], ["dropout=1", "below 1"]),
        (["train", "--dataset", "coro"], ["'coro'", "did you mean 'cora'"]),
        (["train", "--dataset", "karate", "--split", "geom:3"], ["geom:3", "default"]),
        (["train", "--metric", "roc_auc"], ["metric='roc_auc'", "two classes"]),
        (["train", "--metric", "f1"], ["--metric", "'f1'", "'accuracy'"]),
        (["study", "--dataset", "coro"], ["'coro'", "did you mean 'cora'"]),
        (["study", "--dataset", "csbm", "--split", "geom:3"], ["geom:3", "default"]),
        (["study", "--remedies", "none,batchnorm"], ["'batchnorm'", "residual"]),
        (["study", "--activation", "swish"], ["activation='swish'", "relu"]),
        (["study", "--init-weights", "zeros"], ["init_weights='zeros'", "glorot"]),
        (["study", "--normalisation", "col"], ["col", "sym"]),
        (["study", "--depths", "2,0"], ["depth=0", "1 and more"]),
        (["study", "--depths", "2,x"], ["--depths", "'x'"]),
        (["study", "--seeds", "0"], ["seeds=0", "1 and more"]),
        (["study", "--width", "0"], ["width=0", "1 and more"]),
        (["study", "--steps", "-3"], ["steps=-3", "1 and more"]),
        (["study", "--bound-c", "0"], ["bound_c=0", "above 0"]),
        (["study", "--learning-rate", "nan"], ["learning_rate=nan", "above 0"]),
        (["study", "--depht", "3"], ["--depht"]),
        (["studdy"], ["studdy"]),
        ([], ["study", "train", "data"]),
        (["data", "fetch", "coro"], ["'coro'", "did you mean 'cora'"]),
        (["data", "fetch"], ["needs a name", "cora"]),
    ],
)
def test_an_unknown_option_or_value_is_named_with_what_is_allowed(refused, arguments, said):
    sentence = refused(*arguments)
    for part in said:
        assert part in sentence


def test_nan_features(refused, user_file):
    features = np.ones((12, 4), np.float32)
    features[7, 2] = np.nan
    user_file(node_features=features)
    sentence = refused("study", "--dataset", "questions", *QUICK)
    assert "nan" in sentence.lower()
    assert "node 7" in sentence
    assert "2" in sentence


def test_an_edge_to_a_node_that_is_not_there(refused, user_file):
    user_file(edges=np.asarray([[0, 1], [3, 12]]))
    sentence = refused("study", "--dataset", "questions", *QUICK)
    assert "12" in sentence
    assert "0 to 11" in sentence


def test_a_tampered_file(refused, user_file, tmp_path):
    user_file()
    file = tmp_path / "data" / "heterophilous" / "questions.npz"
    file.rename(file.with_name("chameleon.npz"))  # a name whose checksum is known
    sentence = refused("study", "--dataset", "chameleon", *QUICK)
    assert "chameleon.npz" in sentence
    assert "4c640bd2877f" in sentence


def test_a_truncated_file(refused, user_file, tmp_path):
    user_file()
    file = tmp_path / "data" / "heterophilous" / "questions.npz"
    file.write_bytes(file.read_bytes()[:300])
    assert "questions.npz" in refused("study", "--dataset", "questions", *QUICK)


def test_data_that_are_nowhere(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGNN_DATA", str(tmp_path / "nowhere"))
    assert "nowhere" in refused("study", "--dataset", "cora", *QUICK)


def test_an_unwritable_folder(refused, tmp_path):
    (tmp_path / "file").write_text("kept")
    sentence = refused("study", "--dataset", "karate", *QUICK, "--out", str(tmp_path / "file" / "inside"))
    assert "cannot write to" in sentence
    assert str(tmp_path / "file" / "inside") in sentence
    assert (tmp_path / "file").read_text() == "kept"


def test_too_little_memory_for_the_dense_jacobian(refused, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**20)
    monkeypatch.setattr(study_module, "sweep", None)  # refused before anything is trained
    sentence = refused("study", "--dataset", "karate", "--width", "100", "--out", "here")
    assert "n*d = 3400" in sentence
    assert "0.3 GiB" in sentence
    assert "--exact-below 3399" in sentence


def test_a_study_ends_with_a_page_and_a_line_of_json(tmp_path, capsys):
    assert main(["study", "--dataset", "karate", *QUICK, "--out", str(tmp_path / "out"), "--json"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    named = json.loads(last)
    assert os.path.getsize(named["page"]) > 0
    with open(named["results"]) as file:
        (cell,) = json.load(file)["cells"]
    assert cell["depth"] == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "cells",
        "command.json",
        "figures",
        "index.html",
        "results.json",
    ]


def test_ctrl_c_keeps_what_is_done(tmp_path, capsys, monkeypatch):
    arguments = ["study", "--dataset", "karate", *QUICK, "--out", str(tmp_path)]
    arguments[arguments.index("none")] = "none,mlp"
    sweep, calls = study_module.sweep, []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sweep(*args, **kwargs)

    monkeypatch.setattr(study_module, "sweep", interrupted)
    assert main(arguments) == 130
    assert "1 of 2 cells are kept" in capsys.readouterr().err
    assert main(arguments) == 0
    assert len(calls) == 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of one `jaxgnn train`, run as a process, and what it said."""
    folder = tmp_path_factory.mktemp("train")
    command = [sys.executable, "-m", "jaxgnn", *TRAIN, "--out", "run", "--json"]
    return folder / "run", subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def rows(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def history(folder, steps=25):
    """Metrics by name, each [steps, runs]."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(steps))
    return {name: np.array([line[name] for line in lines], float) for name in lines[0] if name != "step"}


def test_training_ends_with_a_table_a_page_and_a_line_of_json(trained):
    folder, process = trained
    assert process.returncode == 0
    assert "Traceback" not in process.stderr
    named = json.loads(process.stdout.splitlines()[-1])
    assert (named["page"], named["results"]) == ("run/index.html", "run/results.json")
    found = rows(folder)
    assert [row["score_mean"] for row in named["rows"]] == [row["score_mean"] for row in found]
    assert named["headline"] in process.stdout
    assert [row["options"] for row in found] == [{"bound_c": 0.25}, {"bound_c": 0.5}]
    (chosen,) = (i for i, line in enumerate(process.stdout.splitlines()[3:5]) if "(chosen)" in line)
    assert found[chosen]["val_mean"] == max(row["val_mean"] for row in found)
    for row, line in zip(found, process.stdout.splitlines()[3:5], strict=True):
        scores = np.array(row["scores"])
        assert f"bound_c = {row['options']['bound_c']:g}" in line
        assert f"{scores.mean():.4f} ± {scores.std():.4f}" in line
        assert f"{np.mean(row['val_scores']):.4f} ± {np.std(row['val_scores']):.4f}" in line
        assert f"{np.mean(row['train_losses']):.4f}" in line
        assert "0 of 2" in line
    files = [
        "checkpoints",
        "command.json",
        "config.json",
        "figures",
        "history.jsonl",
        "index.html",
        "results",
        "results.json",
    ]
    assert sorted(p.name for p in folder.iterdir()) == files


def test_results_are_those_of_the_history(trained):
    """Scores are the test scores at the best validation score of the history and of the last parameters."""
    folder, _ = trained
    metrics = history(folder)
    for i, row in enumerate(rows(folder)):
        for seed in range(2):
            val, test, loss = (metrics[name][:, 2 * i + seed] for name in ("val_score", "test_score", "val_loss"))
            best = max(range(25), key=lambda s: (val[s], -loss[s]))
            assert row["val_scores"][seed] >= val[best]
            if row["best_steps"][seed] == 25:  # after the last update
                assert (row["val_scores"][seed], row["scores"][seed]) >= (val[best], 0)
            else:
                assert row["best_steps"][seed] == best
                assert (row["val_scores"][seed], row["scores"][seed]) == (val[best], test[best])
            assert row["train_losses"][seed] < metrics["train_loss"][0, 2 * i + seed]
        for name, mean, std in (("scores", "score_mean", "score_std"), ("val_scores", "val_mean", "val_std")):
            assert row[mean] == pytest.approx(np.mean(row[name]), rel=1e-6)
            assert row[std] == pytest.approx(np.std(row[name]), abs=1e-6)
        assert row["train_loss"] == pytest.approx(np.mean(row["train_losses"]), rel=1e-6)
        assert row["failed_seeds"] == 0


def test_results_are_those_of_the_library(trained):
    """The same network, data and options by the functions of the library."""
    ds = jg.load_dataset("karate")
    task = jg.tasks.node_classification(ds, jg.prepare(ds.graph))
    layer = LAYERS["gat"](features=6, heads=2, kernel_init=INITIALISERS["glorot"])
    model = jg.DeepGNN(layer=layer, depth=4, width=6, out=2, residual="identity", bound="frobenius", bound_c=0.5)
    options = {"learning_rate": 5e-3, "optimiser": "adamw"}
    apply = jax.jit(model.apply)
    low, high = jg.sweep(model, task, grid={"bound_c": [0.25, 0.5]}, seeds=2, steps=25, **options)
    for row, point in zip(rows(trained[0]), (low, high), strict=True):
        assert row["scores"] == point.result.score.tolist()
        np.testing.assert_allclose(row["train_losses"], point.result.train_loss, rtol=1e-6)
        for seed in range(2):
            params = jax.tree.map(lambda a, seed=seed: a[seed], point.result.params)
            logits = apply(params, task.graph, task.x)
            test = np.mean((np.argmax(logits, axis=1) == ds.labels)[ds.test_mask])
            assert row["scores"][seed] == pytest.approx(test)
    results = json.loads((trained[0] / "results.json").read_text())
    assert results["constant_loss"] == pytest.approx(np.log(2))
    assert results["config"]["train"]["steps"] == 25
    assert results["config"]["model"] == json.loads(
        json.dumps(
            vars(ModelConfig(layer="gat", depth=4, width=6, residual="identity", bound="frobenius", bound_c=0.5)),
            default=vars,
        )
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin1"])
def test_a_terminal_without_our_characters_is_written_to_all_the_same(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    tolerant(stream)
    print("σ₁ of ∂X⁽ˡ⁺¹⁾/∂X⁽ˡ⁾: 0.5 ± 0.1 ≥ μ → ∞, “café” 中")
    print_table(["σ₁", "λ"], [["1.0 ± 0.1", "…"]])
    written = stream.buffer.getvalue().decode(encoding)
    assert "lambda" in written
    if encoding == "ascii":
        assert written.splitlines()[0] == 'sigma1 of dX(l+1)/dX(l): 0.5 +- 0.1 >= mu -> inf, "cafe" ?'


def test_a_finished_run_on_an_ascii_terminal_is_finished(tmp_path):
    """One layer, whose sentences and tables have characters beyond ASCII."""
    command = ["spectrum", "--dataset", "karate", "--depth", "1", "--width", "2", "--out", str(tmp_path / "run")]
    plain = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-m", "jaxgnn", *command], capture_output=True, env=os.environ | plain)
    assert done.returncode == 0, done.stderr
    assert b"sigma1" in done.stdout
    assert b"\npage: " in done.stdout
    assert done.stdout.isascii()
    assert done.stderr.isascii()


def test_the_page_of_a_training_is_self_contained(trained):
    folder, _ = trained
    text = re.sub(r"<script.*?</script>", "", (folder / "index.html").read_text(), flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?!data:|#)', text) == []
    assert not re.search(r"<link|@import|url\(", text)
    assert "jaxgnn train --dataset karate --layer gat" in text
    for row in rows(folder):
        assert f"{row['score_mean']:.4f} ± {row['score_std']:.4f}" in text
    captions = [re.sub(r"<[^>]*>", "", c) for c in re.findall(r'<p data-view="\d+">(.*?)</p>', text)]
    captions = [caption.split(". ")[0].rstrip(".") + "." for caption in captions]  # without the note
    assert len(captions) == len(re.findall("<figure ", text)) == 3
    for caption in captions:
        assert re.fullmatch(r"[A-Z].*\.", caption)
        assert ". " not in caption
    losses = ", ".join(f"{loss:.4f}" for row in rows(folder)[:2] for loss in row["train_losses"])
    assert any(sentence.split(": ")[-1].rstrip(".") in losses for sentence in captions if "losses" in sentence)
    figures = {p.stem for p in (folder / "figures").glob("*.png")}
    assert figures == {p.stem for p in (folder / "figures").glob("*.svg")} == {"grid-bound_c", "loss", "score"}
    for figure in (folder / "figures").glob("*.png"):
        pixels = matplotlib.image.imread(figure)[..., :3].reshape(-1, 3)
        coloured = np.ptp(pixels, axis=1) > 0.3  # lines, as text and axes are grey
        assert coloured.sum() > 200
        assert len(np.unique(pixels[coloured].round(1), axis=0)) >= 2


def test_a_training_that_was_killed_goes_on_to_the_same_results(trained, tmp_path):
    """kill -9 after a checkpoint and some steps more; the same command then, in another process."""
    code = "import os, signal, sys, jaxgnn.commands.main; from jaxgnn.training import folder; folder._SECONDS = -1.0; "
    code += "save = folder.RunFolder.save; kill = lambda: os.kill(os.getpid(), signal.SIGKILL); "
    code += "folder.RunFolder.save = lambda self, step, tree, at_once: "
    code += "save(self, step, tree, at_once=True) if step < 20 else kill(); jaxgnn.commands.main.main(sys.argv[1:])"
    arguments = [*TRAIN, "--out", str(tmp_path / "run")]
    # Where nothing but the installed package can be imported, as in the run that it is compared with.
    options = {"capture_output": True, "cwd": tmp_path}
    killed = subprocess.run([sys.executable, "-c", code, *arguments], check=False, **options)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "run" / "results.json").exists()
    assert len(history(tmp_path / "run", steps=20)["val_loss"]) == 20
    subprocess.run([sys.executable, "-m", "jaxgnn", *arguments], check=True, **options)
    for name in ("results.json", "history.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (trained[0] / name).read_bytes()


def test_a_folder_of_another_run(trained, refused):
    folder, _ = trained
    before = (folder / "results.json").read_bytes()
    sentence = refused(*[{"25": "26"}.get(word, word) for word in TRAIN], "--out", str(folder))
    assert "holds a run with other options, data, versions or device: steps is 25 there and 26 here; choose" in sentence
    assert str(folder) in sentence
    assert (folder / "results.json").read_bytes() == before


def test_a_grid_of_two_options_and_a_run_that_fails(tmp_path, capsys):
    grid = "learning_rate=1e-2,1e30,l2=0,0.1"
    arguments = ["train", "--dataset", "karate", "--layer", "mlp", "--depth", "1", "--width", "3", "--seeds", "2"]
    assert main([*arguments, "--steps", "4", "--grid", grid, "--out", str(tmp_path)]) == 0
    pairs = [(row["options"]["learning_rate"], row["options"]["l2"]) for row in rows(tmp_path)]
    assert pairs == [(0.01, 0.0), (0.01, 0.1), (1e30, 0.0), (1e30, 0.1)]
    assert [row["failed_seeds"] for row in rows(tmp_path)] == [0, 0, 2, 2]
    assert [row["train_loss"] is None for row in rows(tmp_path)] == [False, False, True, True]
    out = capsys.readouterr().out
    assert out.count("2 of 2") == out.count("not finite") == 2
    assert {p.stem for p in (tmp_path / "figures").glob("*.png")} == {"grid-learning_rate", "grid-l2", "loss", "score"}


def test_ctrl_c_in_a_training_names_the_checkpoints(tmp_path, capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxgnn.commands.train.sweep", interrupt)
    assert main([*TRAIN, "--out", str(tmp_path)]) == 130
    err = capsys.readouterr().err
    assert err == f"jaxgnn: interrupted: the same command goes on from {tmp_path / 'checkpoints'}\n"


def test_too_little_memory_for_pairs_at_a_distance(refused, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 20_000)  # enough for P
    sentence = refused("train", "--dataset", "karate", "--khop", "--depth", "3")
    assert "finding the pairs at distance 2 needs 0.0 GiB" in sentence
    assert "at most 1 hops" in sentence


def test_tensorboard_that_is_not_installed(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert "pip install 'jaxgnn[tensorboard]'" in refused("train", "--dataset", "karate", "--tensorboard")


def test_a_training_folder_that_cannot_be_written_to(refused, tmp_path):
    (tmp_path / "file").write_text("")
    sentence = refused("train", "--dataset", "karate", "--out", str(tmp_path / "file" / "inside"))
    assert f"cannot write to {tmp_path / 'file' / 'inside'}" in sentence


def test_a_probing_folder_that_cannot_be_written_to(refused, tmp_path):
    (tmp_path / "file").write_text("")
    sentence = refused("probe", "--dataset", "karate", "--out", str(tmp_path / "file" / "inside"))
    assert f"cannot write to {tmp_path / 'file' / 'inside'}" in sentence


def test_data_list_shows_every_data_set(capsys):
    assert main(["data", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {"karate", "csbm", "cora", "citeseer", "pubmed", "chameleon", "squirrel", "roman_empire"} <= {
        entry["name"] for entry in listed
    }
    assert main(["data", "list"]) == 0
    assert "chameleon_filtered" in capsys.readouterr().out


def test_every_command_has_help(capsys):
    for command in ([], ["study"], ["train"], ["probe"], ["data"], ["data", "list"], ["data", "fetch"]):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code == 0
        assert "usage: jaxgnn" in capsys.readouterr().out


def test_as_a_process(tmp_path):
    command = [sys.executable, "-m", "jaxgnn"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip() == jg.__version__
    bad = subprocess.run([*command, "study", "--layer", "x"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert bad.returncode == 2
    allowed = ", ".join(LAYERS)
    assert bad.stderr == f"jaxgnn: layer='x' is not known: allowed are {allowed}; see jaxgnn study --help-all\n"
    assert list(tmp_path.iterdir()) == []
