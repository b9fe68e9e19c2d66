"""Several layers, depths or widths in one `jaxgnn train`: a folder for each, one table, page and line of JSON."""

import json

import pytest

from jaxgnn.commands.main import _parse, main
from jaxgnn.commands.several import combinations, in_grid
from jaxgnn.report.several import best_by_network

QUICK = ["train", "--dataset", "karate", "--width", "4", "--steps", "4", "--seeds", "2"]


def rows(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def test_a_list_of_values_stands_for_the_grid():
    assert in_grid(["--depth", "2,8", "--seeds", "3"]) == ["--seeds", "3", "--depth", "2", "--grid", "depth=2,8"]
    assert in_grid(["--depth=2", "--grid", "l2=0,1"]) == ["--depth=2", "--grid", "l2=0,1"]
    found = in_grid(["--grid", "l2=0,1", "--layer=gcn,gat", "--width", "4,8"])
    assert found == ["--layer", "gcn", "--width", "4", "--grid", "l2=0,1,layer=gcn,gat,width=4,8"]
    assert in_grid(["--grid", "depth=4,8"]) == ["--depth", "4", "--grid", "depth=4,8"]
    assert in_grid(["--grid", "depth=4,8", "--depth", "16,32"])[-1] == "depth=16,32"


def test_every_network_has_its_own_options_and_the_numeric_grid():
    line = "--layer gcn,gat --depth 2,8 --grid bound_c=0.5,1 --bound row --layer-options heads=2"
    parsed = _parse(["train", *line.split()])
    found = combinations(parsed.model, parsed.runs)
    assert [one.name for one in found] == [f"layer-{x}-depth-{d}" for x in ("gcn", "gat") for d in (2, 8)]
    assert [(one.model.layer, one.model.depth) for one in found] == [("gcn", 2), ("gcn", 8), ("gat", 2), ("gat", 8)]
    assert [one.runs.layer_options for one in found] == [(), (), ("heads=2",), ("heads=2",)]
    assert all(one.runs.grid == ("bound_c=0.5", "1") for one in found)
    (only,) = combinations((plain := _parse(["train"])).model, plain.runs)
    assert (only.options, only.name, only.runs) == ({}, "", plain.runs)


REFUSED = {
    "twice": ("--depth 2,4,2", "depth=2,4,2: each once is needed"),
    "no number": ("--depth 2,x", "depth='x': allowed are whole numbers"),
    "empty": ("--width 4,", "width='': allowed are whole numbers"),
    "out of range": ("--depth 2,0", "depth=0: allowed are 1 and more, whole"),
    "unknown": ("--layer gcn,gta", "layer='gta' is not known, did you mean 'gat'? allowed are gcn, "),
    "two ways": ("--depth 3 --grid depth=4,8", "depth=3 is not among the grid's 4, 8: one of the two is needed"),
    "of no layer": (
        "--layer gcn,gat --layer-options head=2",
        "layer option 'head' is not known, did you mean 'heads'?",
    ),
    "does not fit": ("--layer gcn,gcnii --ends layer --depth 4", 'ends="layer" needs a layer that maps any number'),
    "nothing there": ("--depth 2,3 --continue --out here", "here holds no run to continue"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_made(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line, sentence = REFUSED[case]
    assert main(["train", *line.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"jaxgnn: {sentence}")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_each_is_the_run_that_it_would_be_alone_and_one_page_is_of_all(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = [*QUICK, "--depth", "1,2", "--bound", "row", "--grid", "bound_c=0.5,2", "--json"]
    assert main([*command, "--out", "all"]) == 0
    out = capsys.readouterr().out.splitlines()
    said = json.loads(out[-1])
    assert said["page"] == "all/index.html"
    assert [row["options"] for row in said["rows"]] == [
        {"depth": depth, "bound_c": c} for depth in (1, 2) for c in (0.5, 2.0)
    ]
    assert [row["folder"] for row in said["rows"]] == ["depth-1", "depth-1", "depth-2", "depth-2"]
    assert said["headline"] in out
    found = rows(tmp_path / "all")
    means = [row["val_mean"] for row in found]
    assert said["chosen"] == means.index(max(means))
    for depth in ("1", "2"):
        alone = [*QUICK, "--depth", depth, "--bound", "row", "--grid", "bound_c=0.5,2", "--out", f"alone-{depth}"]
        assert main(alone) == 0
        there = rows(tmp_path / f"alone-{depth}")
        assert rows(tmp_path / "all" / f"depth-{depth}") == there
        assert [row["scores"] for row in found if row["options"]["depth"] == int(depth)] == [r["scores"] for r in there]
    page = (tmp_path / "all" / "index.html").read_text()
    assert "depth-2/index.html" in page
    assert "Mean test score by depth: " in page
    assert all((tmp_path / "all" / f"depth-{d}" / "index.html").exists() for d in (1, 2))
    capsys.readouterr()


def test_the_same_command_goes_on_and_another_depth_joins(tmp_path, capsys):
    command = [*QUICK, "--out", str(tmp_path / "run")]
    assert main([*command, "--depth", "1,2"]) == 0
    first = rows(tmp_path / "run")
    before = (tmp_path / "run" / "depth-1" / "history.jsonl").read_bytes()
    again = ["train", "--config", str(tmp_path / "run" / "command.json"), "--out", str(tmp_path / "run")]
    assert main(again) == 0
    assert rows(tmp_path / "run") == first
    assert main([*again, "--depth", "1,2,3"]) == 0
    assert rows(tmp_path / "run")[:2] == first
    assert (tmp_path / "run" / "depth-1" / "history.jsonl").read_bytes() == before
    assert main([*again, "--depth", "1,2,3", "--steps", "6", "--continue"]) == 0
    assert len((tmp_path / "run" / "depth-3" / "history.jsonl").read_text().splitlines()) == 6
    alone = ["train", "--config", str(tmp_path / "run" / "depth-2" / "command.json"), "--out", str(tmp_path / "two")]
    assert main(alone) == 0
    capsys.readouterr()


def test_the_default_folder_names_them_all(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*QUICK, "--layer", "gcn,mlp", "--depth", "1,2"]) == 0
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("jaxgnn-train-karate-gcn+mlp-1+2-")
    assert sorted(p.name for p in folder.glob("layer-*")) == [
        f"layer-{x}-depth-{d}" for x in ("gcn", "mlp") for d in (1, 2)
    ]
    capsys.readouterr()


def test_ctrl_c_keeps_the_networks_that_are_done(tmp_path, monkeypatch, capsys):
    from jaxgnn.commands.train import Training

    run, calls = Training.run, []

    def interrupted(self, *args):
        calls.append(self.out.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run(self, *args)

    monkeypatch.setattr(Training, "run", interrupted)
    command = [*QUICK, "--depth", "1,2", "--out", str(tmp_path / "run")]
    assert main(command) == 130
    assert "the same command goes on from " in capsys.readouterr().err
    assert (tmp_path / "run" / "command.json").exists()
    assert main(command) == 0
    assert calls == ["depth-1", "depth-2", "depth-1", "depth-2"]
    assert len(rows(tmp_path / "run")) == 2
    capsys.readouterr()


def test_the_best_of_a_network_is_chosen_on_validation():
    made = [("a", 0.2, 0.9), ("a", 0.4, 0.1), ("b", None, 0.3), ("b", 0.1, 0.2)]
    results = {"rows": [{"folder": f, "val_mean": v, "score_mean": s} for f, v, s in made], "maximise": True}
    assert [row["score_mean"] for row in best_by_network(results)] == [0.1, 0.2]
    assert [row["score_mean"] for row in best_by_network(results | {"maximise": False})] == [0.9, 0.2]
