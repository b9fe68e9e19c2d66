import dataclasses
import json
import re
import warnings

import numpy as np
import pytest

from jaxgnn.commands.main import main
from jaxgnn.data.errors import DataError
from jaxgnn.evidence.finding import Finding, Value
from jaxgnn.evidence.pages import duration, gather, verdicts, write_report
from jaxgnn.evidence.reproduction import Reproduction, chosen, load, names, reproduce, unavailable
from jaxgnn.report import plots
from jaxgnn.report.claim import Shown


@dataclasses.dataclass(frozen=True)
class Config:
    numbers: tuple[int, ...] = (1, 2)


@pytest.fixture
def squares():
    """A reproduction that notes which cells it measures."""
    measured = []

    def cells(config):
        def square(k):
            measured.append(k)
            return {"square": k**2}

        return {f"the number {k}": lambda k=k: square(k) for k in config.numbers}

    def show(config, results):
        found = [float(arrays["square"]) for arrays in results.values()]
        figure, axes = plots.new_figure(ylabel="square", xlabel="number")
        axes.plot(config.numbers, found, label="square")
        values = [Value("sum", sum(found), published=4.5), Value("last", found[-1], spread=0.25)]
        shown = {"squares": Shown(plots.finished(figure), "Squares", "They grow.")}
        return Finding("Squares were taken.", "partly", "Only |some|.", values, shown)

    presets = {"smoke": Config(), "cpu": Config((1, 2, 3))}
    made = Reproduction("park2024/squares", "Squares", "Squares grow.", presets, {"smoke": "none"}, cells, show)
    return made, measured


def test_cells_are_measured_once_and_kept(squares, tmp_path):
    made, measured = squares
    first = reproduce(made, "smoke", tmp_path)
    again = reproduce(made, "smoke", tmp_path)
    assert measured == [1, 2]
    assert first.finding.values == again.finding.values
    assert first.seconds == again.seconds
    assert first.where == again.where


def test_an_interrupted_run_goes_on(squares, tmp_path):
    made, measured = squares

    def stop(label, done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(made, "cpu", tmp_path, stop)
    assert measured == [1]
    reproduce(made, "cpu", tmp_path)
    assert measured == [1, 2, 3]


def test_a_damaged_cell_is_measured_again(squares, tmp_path):
    made, measured = squares
    reproduce(made, "smoke", tmp_path)
    cell = sorted((tmp_path / made.name / "cells").iterdir())[0]
    cell.write_bytes(cell.read_bytes()[:40])
    with pytest.warns(UserWarning, match="is damaged"):
        reproduce(made, "smoke", tmp_path)
    assert measured == [1, 2, 1]


def test_other_settings_have_another_folder(squares):
    made, _ = squares
    changed = dataclasses.replace(made, presets={"smoke": Config((1, 5))})
    revised = dataclasses.replace(made, revision=1)
    assert len({r.digest("smoke") for r in (made, changed, revised)}) == 3


def test_the_page_joins_the_fullest_preset(squares, tmp_path):
    made, _ = squares
    for preset in ("cpu", "smoke"):
        page = reproduce(made, preset, tmp_path).write(tmp_path)
        assert page.read_text().count("<figure ") == 1
    (found,) = gather(tmp_path)
    assert (found["preset"], found["outcome"]) == ("cpu", "partly")
    page = re.sub(r"<td [^>]*>", "<td>", write_report(tmp_path).read_text())
    assert page.count("<figure ") == 1
    # 1 + 4 + 9 = 14, published 4.5.
    for text in ("<td>14</td><td>4.5</td><td>+9.5</td>", "<td>9 ± 0.25</td><td></td>", "Only |some|."):
        assert text in page
    assert r"| Only \|some\|. |" in (tmp_path / "verdicts.md").read_text()


def test_a_smoke_preset_is_not_judged(squares, tmp_path):
    made, _ = squares
    outcome = reproduce(made, "smoke", tmp_path)
    assert outcome.finding.verdict == "not judged"
    page = outcome.write(tmp_path).read_text("utf-8")
    results = json.loads((made.folder("smoke", tmp_path) / "results.json").read_text())
    assert results["outcome"] == "not judged"
    rows = verdicts(gather(tmp_path))
    assert [row[1] for row in rows] == ["not judged"]
    report = write_report(tmp_path).read_text("utf-8")
    said = [page, json.dumps(results), str(rows), report, (tmp_path / "verdicts.md").read_text("utf-8")]
    for text in said:
        assert "not judged" in text
        assert "partly" not in text


def test_a_smoke_preset_written_with_a_verdict_is_not_reported_with_it(squares, tmp_path):
    made, _ = squares
    reproduce(made, "smoke", tmp_path).write(tmp_path)
    path = made.folder("smoke", tmp_path) / "results.json"
    written = json.loads(path.read_text())
    path.write_text(
        json.dumps(written | {"outcome": "reproduced", "reason": "It is.", "verdict": "reproduced. It is."})
    )
    assert "reproduced." not in write_report(tmp_path).read_text("utf-8")
    assert [row[1] for row in verdicts(gather(tmp_path))] == ["not judged"]


def test_what_has_no_data_is_not_available_with_any_preset(squares, tmp_path):
    made, _ = squares
    unavailable(made, "smoke", DataError("cora is not here")).write(tmp_path)
    assert [row[1] for row in verdicts(gather(tmp_path))] == ["not available"]


@pytest.mark.parametrize("content", [b'{"preset": "cp', b"\xff\xfe", b""])
def test_damaged_results_are_named_in_a_sentence(squares, tmp_path, content, capsys):
    made, _ = squares
    reproduce(made, "smoke", tmp_path).write(tmp_path)
    path = made.folder("smoke", tmp_path) / "results.json"
    path.write_bytes(content)
    assert main(["report", str(tmp_path)]) == 2
    assert f"{path} is damaged" in capsys.readouterr().err


def test_what_has_no_data_says_so(squares, tmp_path):
    made, _ = squares
    unavailable(made, "cpu", DataError("cora is not here")).write(tmp_path)
    (found,) = gather(tmp_path)
    assert (found["outcome"], found["reason"]) == ("not available", "cora is not here")


def test_refusals(squares, tmp_path, capsys):
    made, _ = squares
    with pytest.raises(ValueError, match="preset='full' is not known for park2024/squares: allowed are smoke, cpu"):
        reproduce(made, "full", tmp_path)
    with pytest.raises(ValueError, match="a name is needed, or --all"):
        chosen([])
    with pytest.raises(ValueError, match="holds no reproduction"):
        gather(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write to"):
        reproduce(made, "smoke", tmp_path / "file")
    assert main(["reproduce", "park2024/moon"]) == 2
    assert (
        "'park2024/moon' is not known, did you mean 'park2024/bound'? allowed are park2024, " in capsys.readouterr().err
    )


def test_durations():
    assert [duration(s) for s in (12.4, 90.0, 5400.0)] == ["12 s", "1.5 min", "1.5 h"]


BROUGHT = {"arroyo2025/peptides"}  # run on small files of the format by tests/data/test_peptides.py


@pytest.mark.parametrize("name", [name for name in names() if name not in BROUGHT])
def test_every_reproduction_runs_at_its_smallest(name, tmp_path):
    one = load(name)
    assert one.name == name
    assert set(one.cost) == set(one.presets) >= {"smoke", "cpu"}
    assert "full" in one.presets or name.startswith("questions/")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = reproduce(one, "smoke", tmp_path)
        page = outcome.write(tmp_path).read_text()
    assert page.count("<figure ") == len(outcome.finding.figures) > 0
    written = json.loads((one.folder("smoke", tmp_path) / "results.json").read_text())
    assert written["name"] == name
    assert "nan" not in outcome.finding.evidence.split() + outcome.finding.reason.split()
    assert all(isinstance(value.ours, (float, int, np.floating)) for value in outcome.finding.values)


def test_the_command_lists_runs_and_reports(tmp_path, capsys):
    assert main(["reproduce", "--list"]) == 0
    assert "park2024/similarity" in capsys.readouterr().out
    assert main(["reproduce", "park2024/similarity", "--preset", "smoke", "--out", str(tmp_path), "--json"]) == 0
    pages = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(pages) == ["park2024/similarity"]
    assert main(["report", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["verdicts"].keys() == {"park2024/similarity"}
