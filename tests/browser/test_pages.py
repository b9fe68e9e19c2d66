"""What a reader meets, in a browser: every page at a desk and on a phone, by day and at night."""

import csv
import re

import numpy as np
import pytest

_DRAWN = """[...document.querySelectorAll("figure")].filter((f) => f.querySelector(".plot").data)
  .map((f) => Number(f.dataset.figure))"""
NAMES = ("study", "train", "several", "probe", "diagnose", "spectrum", "reproduce", "report", "bench", "plan")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_opens_without_an_error_a_request_or_a_sideways_scroll(pages, opened, name, width, scheme):
    assert pages[name].stat().st_size < 3_000_000
    with opened(pages[name], width=width, scheme=scheme) as found:
        page = found.through()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert found.wrong == []
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "plan"])
def test_the_first_figure_is_drawn_within_two_seconds(pages, opened, name):
    with opened(pages[name]) as found:
        found.page.locator(
            "figure"
        ).first.scroll_into_view_if_needed()  # below a long table it is drawn when it is near
        found.until("[...document.querySelectorAll('.plot')].some((p) => p.data || p.textContent)")
        assert found.page.evaluate("performance.now()") < 2000


def hovered(page, figure, x):
    """The texts that the pointer finds at a value of x."""
    plot = page.locator(f"[data-figure='{figure}'] .plot")
    plot.scroll_into_view_if_needed()
    page.wait_for_timeout(100)
    box = page.evaluate(
        """([n, x]) => {
          const plot = document.querySelector(`[data-figure='${n}'] .plot`), box = plot.getBoundingClientRect();
          const a = plot._fullLayout.xaxis, b = plot._fullLayout.yaxis;
          return [box.left + a._offset + a.d2p(x), box.top + b._offset + b._length / 2];
        }""",
        [figure, x],
    )
    page.mouse.move(box[0] - 2, box[1])
    page.mouse.move(*box)
    page.wait_for_selector(f"[data-figure='{figure}'] .hoverlayer text")
    return page.locator(f"[data-figure='{figure}'] .hoverlayer .legendtext").all_text_contents()


def shown_lines(page, figure):
    """Names of the lines that a figure shows, with their values."""
    data = page.evaluate(f"document.querySelector(\"[data-figure='{figure}'] .plot\").data")
    return {trace["name"]: trace["y"] for trace in data if trace.get("hoverinfo") != "skip"}


def figure_number(page, title):
    titles = page.locator("figure h3").all_text_contents()
    return next(i for i, text in enumerate(titles) if text.startswith(title))


def test_hovering_shows_what_the_array_holds(pages, opened, study_arrays):
    with opened(pages["study"]) as found:
        page = found.through()
        figure = figure_number(page, "Features: distance from equal rows")
        texts = hovered(page, figure, 1)
        for remedy, name in (("none", "plain"), ("residual", "residual")):
            for state, words in (("initial", "before training"), ("trained", "after training")):
                expected = np.median(study_arrays[2, remedy][f"{state}/features/mu"], axis=0)[1]
                (text,) = (t for t in texts if t.startswith(f"{name}, {words}: "))
                assert float(text.split(": ")[1]) == pytest.approx(float(expected), rel=1e-4)


def test_the_depth_selector_changes_every_figure_and_its_sentence(pages, opened, study_arrays):
    with opened(pages["study"]) as found:
        page = found.through()
        figure = figure_number(page, "Features: distance from equal rows")
        caption = page.locator(f"[data-figure='{figure}'] figcaption p:visible")
        assert len(shown_lines(page, figure)["plain, after training"]) == 3
        before = caption.text_content()
        page.locator("input[data-selector='depth'][value='1']").first.check(force=True)
        assert len(shown_lines(page, figure)["plain, after training"]) == 2
        assert caption.text_content() != before
        expected = np.median(study_arrays[1, "none"]["trained/features/mu"], axis=0)
        np.testing.assert_allclose(shown_lines(page, figure)["plain, after training"], expected, rtol=1e-6)
        assert page.locator("input[data-selector='depth'][value='1']:checked").count() == 2  # in both sections
        last = figure_number(page, "Last layer's Jacobian")
        assert "There is none" in page.locator(f"[data-figure='{last}'] .plot").text_content()
        assert found.wrong == []


def test_a_legend_entry_hides_a_line_in_all_figures_and_shows_it_again(pages, opened):
    with opened(pages["study"]) as found:
        page = found.through()
        drawn = page.evaluate(_DRAWN)
        assert len(drawn) >= 8

        def holding(name):
            return [n for n in drawn if any(line.startswith(name) for line in shown_lines(page, n))]

        everywhere = holding("residual")
        assert len(everywhere) == len(drawn)
        button = page.locator("button.key[data-key='residual']").first
        button.focus()
        page.keyboard.press("Enter")
        assert holding("residual") == []
        assert holding("plain") == drawn
        pressed = page.locator("button.key[data-key='residual']").evaluate_all("(all) => all.map((b) => b.ariaPressed)")
        assert set(pressed) == {"false"}
        button.click()
        assert holding("residual") == everywhere
        page.locator("button.key[data-key='before training']").first.click()
        assert not any("before training" in line for n in drawn for line in shown_lines(page, n))


def test_a_scale_is_switched_and_values_stay(pages, opened):
    with opened(pages["study"]) as found:
        page = found.through()
        figure = figure_number(page, "Features: distance from equal rows")
        before = shown_lines(page, figure)
        kind = f"document.querySelector(\"[data-figure='{figure}'] .plot\").layout.yaxis.type"
        assert page.evaluate(kind) == "log"
        page.locator(f"[data-figure='{figure}'] button.mode").click()
        assert page.evaluate(kind) == "linear"
        after = shown_lines(page, figure)
        for name, values in before.items():
            assert [a for a, b in zip(after[name], values, strict=True) if b is not None] == [
                b for b in values if b is not None
            ]


def test_scores_stay_where_an_accuracy_can_be(pages, opened):
    with opened(pages["study"]) as found:
        page = found.through()
        figure = figure_number(page, "Test accuracy")
        plot = f"document.querySelector(\"[data-figure='{figure}'] .plot\")"
        low, high = page.evaluate(f"{plot}.layout.yaxis.range")
        assert -0.05 <= low < high <= 1.05
        for trace in page.evaluate(f"{plot}.data"):
            bars = trace.get("error_y")
            if bars:
                assert all(y + e <= 1 + 1e-12 for y, e in zip(trace["y"], bars["array"], strict=True))
                assert all(y - e >= -1e-12 for y, e in zip(trace["y"], bars["arrayminus"], strict=True))


def test_columns_sort_by_number_and_back(pages, opened):
    with opened(pages["study"]) as found:
        page = found.page
        head = page.locator("table th", has_text="train loss")
        column = page.locator("table th").all_text_contents().index("train loss")

        def values():
            cells = page.locator(f".table tbody tr td:nth-child({column + 1})").all_text_contents()
            return [float(cell) for cell in cells]

        first = values()
        head.locator("button").click()
        assert values() == sorted(first)
        assert head.get_attribute("aria-sort") == "ascending"
        head.locator("button").click()
        assert values() == sorted(first, reverse=True)


def test_arrays_are_downloaded_whole(pages, opened, study_arrays, tmp_path):
    with opened(pages["study"]) as found:
        page = found.through()
        figure = figure_number(page, "Gradients: distance from equal rows")
        with page.expect_download() as waiting:
            page.locator(f"[data-figure='{figure}'] .tools button", has_text="CSV").click()
        waiting.value.save_as(tmp_path / "found.csv")
        rows = list(csv.DictReader((tmp_path / "found.csv").read_text("utf-8").splitlines()))
        mine = [r for r in rows if (r["series"], r["state"]) == ("plain", "after training")]
        column = next(name for name in rows[0] if name.startswith("μ"))
        expected = np.median(study_arrays[2, "none"]["trained/feature_grads/mu"], axis=0)
        np.testing.assert_array_equal([float(r[column]) for r in mine], np.asarray(expected, float))
        assert waiting.value.suggested_filename == "feature_grads-mu-2.csv"


def test_symbols_are_explained_where_they_stand_and_at_the_end(pages, opened):
    for name in ("study", "probe", "spectrum"):
        with opened(pages[name]) as found:
            page = found.page
            term = page.locator("a.term:visible").first
            term.focus()
            tip = page.locator("#tip")
            assert tip.is_visible()
            entry = page.locator(term.get_attribute("href"))
            assert entry.evaluate("(dt) => dt.nextElementSibling.textContent") == tip.text_content()
            assert term.get_attribute("aria-describedby") == "tip"
            page.keyboard.press("Escape")
            assert not tip.is_visible()
            targets = page.locator("a.term").evaluate_all("(all) => all.every((a) => document.querySelector(a.hash))")
            assert targets


@pytest.mark.parametrize("name", NAMES)
def test_everything_has_a_name_for_a_reader_who_does_not_see_it(pages, opened, name):
    with opened(pages[name]) as found:
        page = found.through()
        assert page.locator("img:not([alt]), img[alt='']").count() == 0
        unnamed = """(all) => all.filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() ||
          (e.labels && e.labels.length))).map((e) => e.outerHTML)"""
        assert page.locator("button, select, input, summary").evaluate_all(unnamed) == []
        for plot in page.locator(".plot[role=img]").all():
            for target in plot.get_attribute("aria-labelledby").split():
                assert page.locator(f"#{target}").text_content().strip()
        assert page.locator("h1").count() == 1
        assert page.locator("table:not(:has(caption)) >> xpath=self::*[not(ancestor::details)]").count() == 0


CONTRAST = """() => {
  const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  const sum = (c) => { const [r, g, b] = light(c); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const back = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return null; };
  const found = [];
  for (const e of document.querySelectorAll("p, a, button, label, th, td, dt, dd, h1, h2, h3, span, summary, legend")) {
    if (!e.textContent.trim() || !e.offsetParent || e.closest(".plot, .hidden")) continue;
    const a = sum(parse(getComputedStyle(e).color).slice(0, 3)), b = sum(back(e) || [255, 255, 255]);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${e.outerHTML.slice(0, 80)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_is_asked_for(pages, opened, scheme):
    with opened(pages["study"], scheme=scheme) as found:
        page = found.through()
        page.locator("button.key").first.click()
        page.locator("button.mode").first.click()
        assert page.evaluate(CONTRAST) == []


def test_the_keyboard_reaches_every_control(pages, opened):
    with opened(pages["train"]) as found:
        page = found.through()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        reached = set()
        for _ in range(400):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.textContent.trim().slice(0, 20)"))
        assert {"log scale", "CSV", "Values", "training"} <= reached


def test_a_phone_shows_a_table_as_cards_that_can_be_sorted(pages, opened):
    with opened(pages["study"], width=390) as found:
        page = found.page
        cell = page.locator(".table td[data-label='train loss']")
        assert "train loss" in cell.first.evaluate("(e) => getComputedStyle(e, '::before').content")
        page.locator(".sort-by select").select_option(label="train loss")
        values = [float(text) for text in cell.all_text_contents()]
        assert values == sorted(values)


def test_the_size_of_a_page_is_that_of_plotly_and_little_more(pages):
    assert all(re.search(r"<script>/\*\*\s*\n\* plotly.js", page.read_text("utf-8")) for page in pages.values())
