import json
import re

import numpy as np
import pytest

from jaxgnn.host.spelling import counted, singular
from jaxgnn.report import panels
from jaxgnn.report.explanation import Explanation
from jaxgnn.report.glossary import TERMS, marked
from jaxgnn.report.html import render
from jaxgnn.report.page import FigureBlock, Section, Selector, Table, View, figure_block
from jaxgnn.report.provenance import footer

EVIL = "</script><script>alert(1)</script>"


def test_markup_is_escaped_wherever_it_stands(tmp_path):
    line = panels.Curve(np.arange(2), np.ones((1, 2)), 0)
    panel = panels.curves({EVIL: line}, xlabel=EVIL, ylabel=EVIL, log=False)
    block = figure_block(tmp_path, "figure", panel, EVIL, EVIL)
    image = FigureBlock(EVIL, [View(EVIL, None, "<svg/>")])
    sections = [Section(EVIL, [EVIL], Table([EVIL], [[EVIL]]), [block, image], [Selector(EVIL, [EVIL], EVIL)])]
    text = render(EVIL, [EVIL], sections, [EVIL], Explanation(EVIL, EVIL, f"`{EVIL}`"))
    assert "alert(1)</script>" not in text
    assert len(re.findall("<script", text)) == 4  # the data and the page's own three
    assert "default-src 'none'" in text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1]
    assert json.loads(data)["figures"][0]["views"][0]["panel"]["x"]["label"] == EVIL


def test_only_what_lies_below_a_page_is_a_link():
    rows = [["depth-2/index.html"], ["javascript:x/index.html"], ["//there/index.html"], ["../index.html"]]
    text = render("t", [], [Section("s", table=Table(["page"], rows))], [])
    assert re.findall(r'<td[^>]*><a href="([^"]*)"', text) == ["depth-2/index.html"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("μ(G⁽ˡ⁾) / ‖G⁽ˡ⁾‖", {"relative-mu"}),
        ("μ and E of X⁽ˡ⁾", {"mu", "energy", "features"}),
        ("P (sym) has λ = 0.9", {"propagation", "lambda"}),
        ("largest |λ|", {"spectral-radius"}),
        ("off span(1), B⁽⁰⁾ and ρ′(H⁽ˡ⁾)", {"span", "error", "activation", "pre-activation"}),
        ("residual+frobenius, c = 1", {"bound"}),
        ("mu(G), lambda and Lambda", {"mu", "lambda", "state-matrix"}),
        ("the plain network, the constant predictor's", {"plain", "constant"}),
        ("Epochs, Perlin, csbm, multiple musing", set()),
    ],
)
def test_symbols_are_found_where_they_stand(text, names):
    used = set()
    html = marked(text, used)
    assert used == names
    assert re.sub(r"<[^>]*>", "", html).replace("&#x27;", "'") == text
    assert len({term.name for term in TERMS}) == len(TERMS)


def test_the_glossary_has_what_a_page_uses_and_no_more():
    text = render("λ", ["μ of X⁽ˡ⁾"], [], [])
    assert set(re.findall(r'<dt id="term-([a-z-]+)"', text)) == {"lambda", "mu", "features"}
    assert set(re.findall(r'href="#term-([a-z-]+)"', text)) == {"lambda", "mu", "features"}


def test_three_lines_stand_at_the_top():
    text = render("t", [], [], [], Explanation("It fell.", "The gradient vanishes.", "`--residual identity`"))
    words = re.sub(r"<[^>]*>", " ", text[text.index("<h1>") : text.index("<nav")])
    assert re.sub(r"\s+", " ", words).strip() == (
        "t What happened It fell. Why The gradient vanishes. What to try next --residual identity"
    )
    assert "<code>--residual identity</code>" in text
    assert "explanation" not in render("t", [], [], []).split("<body>")[1].split("<script")[0]


def test_one_is_one_and_an_installed_package_has_no_commit():
    assert counted(1, "component") == "1 component"
    assert counted(2708, "node") == "2,708 nodes"
    assert counted(1, "figure or table", "figures and tables") == "1 figure or table"
    assert singular("1 seeds, 1 residual layers of width 1; 11 seeds, 0.1 steps, 1 network, 1 of the networks") == (
        "1 seed, 1 residual layer of width 1; 11 seeds, 0.1 steps, 1 network, 1 of the networks"
    )
    where = {"versions": {"jaxgnn": "1.0", "jraph": None}, "device": {"kind": "cpu"}, "commit": None}
    assert footer("jaxgnn x", where) == ["Made by: jaxgnn x", "jaxgnn 1.0; cpu"]
    assert footer("jaxgnn x", where | {"commit": "abc"})[1].endswith("; commit abc")


@pytest.mark.parametrize(
    ("metric", "ends"), [("accuracy", (0, 1)), ("roc auc", (0, 1)), ("mse", (0, None)), ("?", (None, None))]
)
def test_scores_have_the_ends_of_their_metric(metric, ends):
    assert panels.score_limits(metric)[:2] == ends


def test_a_floor_is_below_what_a_loss_can_resolve():
    assert panels.loss_limits([1.9, 0.0]).floor == 1e-8
    assert panels.loss_limits([1e20, 2.0]).floor == 1e-8
    assert panels.loss_limits([1e-5]).floor == pytest.approx(1e-13)
    assert panels.loss_limits([0.0, np.nan]).floor is None
