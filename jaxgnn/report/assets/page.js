// A page's controls: one legend a section that acts on all figures, selectors, scales, sorted tables, downloads, tooltips.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const state = { choice: {}, hidden: new Set(), same: new Set() };
  const CONFIG = { displaylogo: false, responsive: true, scrollZoom: false, showTips: false };
  CONFIG.modeBarButtonsToRemove = ["select2d", "lasso2d", "autoScale2d"];

  function element(tag, options = {}, ...inside) {
    const made = Object.assign(document.createElement(tag), options);
    made.append(...inside);
    return made;
  }
  const attribute = (made, values) => (Object.entries(values).forEach(([k, v]) => made.setAttribute(k, v)), made);

  const figures = data.figures.map((one, i) => ({
    ...one,
    root: document.querySelector(`[data-figure="${i}"]`),
    log: null,
    near: false,
  }));

  const fits = (view) => Object.entries(view.when).every(([name, option]) => state.choice[name] === option);
  const current = (figure) => figure.views.findIndex(fits);
  const shown = (one) => !state.hidden.has(one.group) && !one.variants.some((v) => state.hidden.has(v));

  // The panels that a figure shares its scale with, itself among them.
  function beside(figure) {
    const mates = figure.scale ? figures.filter((f) => f.section === figure.section && f.scale === figure.scale) : [figure];
    const every = state.same.has(figure.section);
    return mates.flatMap((f) => f.views.filter((v) => every || fits(v)).map((v) => v.panel).filter(Boolean));
  }

  function update(figure) {
    const at = current(figure);
    figure.root.querySelectorAll("[data-view]").forEach((e) => (e.hidden = Number(e.dataset.view) !== at));
    const plot = figure.root.querySelector(".plot"), view = figure.views[at];
    const panel = view && view.panel;
    figure.root.querySelector(".tools").hidden = !panel;
    plot.hidden = Boolean(view) && !panel;
    if (plot.hidden) return;
    const nothing = !view ? "There is none for this choice." : panel.nothing;
    plot.classList.toggle("none", Boolean(nothing));
    if (nothing) {
      if (plot.data) Plotly.purge(plot);
      plot.textContent = nothing;
      return;
    }
    if (!plot.data) plot.textContent = "";
    const log = figure.log === null ? panel.y.log : figure.log;
    const mode = figure.root.querySelector(".mode");
    if (mode) mode.setAttribute("aria-pressed", String(log)), (mode.hidden = !panel.y.log_view || panel.equal);
    const drawn = Figures.plotly(panel, { log, shown, panels: beside(figure) });
    Plotly.react(plot, drawn.data, drawn.layout, CONFIG);
    const values = figure.root.querySelector("details[open]");
    if (values) fill(values, panel);
  }

  const redraw = (which = figures) => which.filter((f) => f.near).forEach(update);

  function csv(rows) {
    const cell = (v) => (/[",\n]/.test((v = v === null ? "" : String(v))) ? `"${v.replace(/"/g, '""')}"` : v);
    return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
  }

  function download(name, rows) {
    const link = element("a", { download: `${name}.csv`, href: URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function fill(details, panel) {
    const rows = Figures.rows(panel), most = 300;
    const body = rows.slice(1, most + 1).map((row) =>
      element("tr", {}, ...row.map((v) => element("td", { textContent: typeof v === "number" ? Figures.number(v) : v ?? "none" }))));
    const head = element("tr", {}, ...rows[0].map((v) => attribute(element("th", { textContent: v }), { scope: "col" })));
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
    const inside = attribute(element("div", { className: "values", tabIndex: 0 }, table), { role: "region", "aria-label": "Values" });
    const more = rows.length - 1 > most ? [element("p", { textContent: `${most} of ${rows.length - 1} rows; the CSV has all.` })] : [];
    details.replaceChildren(details.firstChild, inside, ...more);
  }

  function tools(figure) {
    const title = figure.root.querySelector("h3").textContent;
    const panel = () => figure.views[current(figure)].panel;
    const mode = attribute(element("button", { type: "button", className: "mode", textContent: "log scale" }), { "aria-label": `log scale: ${title}` });
    mode.onclick = () => ((figure.log = mode.getAttribute("aria-pressed") !== "true"), update(figure));
    const save = attribute(element("button", { type: "button", textContent: "CSV" }), { "aria-label": `values as CSV: ${title}` });
    save.onclick = () => download([figure.name, ...Object.values(figure.views[current(figure)].when)].join("-"), Figures.rows(panel()));
    const values = element("details", {}, attribute(element("summary", { textContent: "Values" }), { "aria-label": `Values: ${title}` }));
    values.ontoggle = () => values.open && fill(values, panel());
    figure.root.querySelector(".tools").append(mode, save, values);
  }

  // A piece of a line as the figures draw it.
  function sample(one, bare) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    attribute(svg, { width: 22, height: 8, "aria-hidden": "true" });
    attribute(line, { x1: 0, y1: 4, x2: 22, y2: 4, "stroke-width": 3 });
    if (one.dash !== "solid") line.setAttribute("stroke-dasharray", one.dash === "dot" ? "2 3" : "6 4");
    line.dataset.colour = bare ? "" : one.colour;
    svg.append(line);
    return svg;
  }

  function recolour() {
    document.querySelectorAll("line[data-colour]").forEach((line) =>
      line.setAttribute("stroke", line.dataset.colour === "" ? "currentColor" : Figures.colour(Number(line.dataset.colour))));
  }

  function key(name, one, bare) {
    const made = element("button", { type: "button", className: "key" }, sample(one, bare), name);
    attribute(made, { "aria-pressed": "true" });
    made.dataset.key = name;
    made.onclick = () => {
      state.hidden.has(name) ? state.hidden.delete(name) : state.hidden.add(name);
      document.querySelectorAll("button.key").forEach((b) => {
        if (b.dataset.key === name) b.setAttribute("aria-pressed", String(!state.hidden.has(name)));
      });
      redraw();
    };
    return made;
  }

  function legend(section) {
    const groups = new Map(), variants = new Map();
    for (const figure of figures.filter((f) => f.section === section))
      for (const view of figure.views)
        for (const one of view.panel ? view.panel.series : []) {
          if (!groups.has(one.group)) groups.set(one.group, { ...one, dash: one.variants.length ? "solid" : one.dash });
          for (const v of one.variants) if (!variants.has(v)) variants.set(v, one);
        }
    const row = (label, entries, bare) =>
      attribute(element("div", { className: "choice" }, element("span", { textContent: label }),
        ...[...entries].map(([name, one]) => key(name, one, bare))), { role: "group", "aria-label": label });
    const found = [];
    if (groups.size > 1) found.push(row("Lines", groups, false));
    if (variants.size > 1) found.push(row("Show", variants, true));
    return found;
  }

  function selector(one, section) {
    const set = element("fieldset", { className: "choice" }, element("legend", { textContent: one.name }));
    for (const option of one.options) {
      const input = element("input", { type: "radio", name: `${one.name}-${section}`, value: option, checked: option === one.first });
      input.dataset.selector = one.name;
      input.onchange = () => {
        state.choice[one.name] = option;
        document.querySelectorAll("input[data-selector]").forEach((i) => {
          if (i.dataset.selector === one.name) i.checked = i.value === option;
        });
        redraw();
      };
      set.append(element("label", {}, input, option));
    }
    return set;
  }

  function controls(section) {
    const root = document.querySelector(`[data-section="${section.id}"]`);
    section.selectors.forEach((one) => (state.choice[one.name] ??= one.first));
    root.append(...section.selectors.map((one) => selector(one, section.id)), ...legend(section.id));
    if (section.selectors.length) {
      const box = element("input", { type: "checkbox" });
      box.onchange = () => {
        box.checked ? state.same.add(section.id) : state.same.delete(section.id);
        redraw(figures.filter((f) => f.section === section.id));
      };
      const names = section.selectors.map((one) => one.name).join(" and ");
      root.append(element("div", { className: "choice" }, element("label", {}, box, `same scale at every ${names}`)));
    }
  }

  function value(text) {
    const found = text.replace(/,(?=\d{3})/g, "").match(/^[^\d+\-−]{0,2}\s*([+\-−]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)/i);
    return found ? Number(found[1].replace("−", "-")) : null;
  }

  function sort(table, column, down) {
    const body = table.tBodies[0], text = (row) => row.cells[column].textContent.trim();
    const order = (a, b) => {
      const [s, t] = [text(a), text(b)], [x, y] = [value(s), value(t)];
      if (x === null || y === null) return x === y ? (s === "") - (t === "") || s.localeCompare(t) * (down ? -1 : 1) : (x === null) - (y === null);
      return down ? y - x : x - y;
    };
    [...body.rows].sort(order).forEach((row) => body.append(row));
    [...table.tHead.rows[0].cells].forEach((cell, i) =>
      i === column ? cell.setAttribute("aria-sort", down ? "descending" : "ascending") : cell.removeAttribute("aria-sort"));
  }

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells], names = heads.map((cell) => cell.textContent);
    const toggle = (i) => sort(table, i, heads[i].getAttribute("aria-sort") === "ascending");
    heads.forEach((cell, i) => {
      const press = element("button", { type: "button" }, element("span", {}, ...cell.childNodes));
      press.onclick = () => toggle(i);
      press.querySelectorAll("a").forEach((a) => a.replaceWith(attribute(element("span", { textContent: a.textContent, className: "term" }), { "data-tip": a.dataset.tip })));
      cell.replaceChildren(press);
    });
    const choose = element("select", {}, element("option", { textContent: "as it is", value: "" }), ...names.map((n, i) => element("option", { textContent: n, value: i })));
    choose.onchange = () => choose.value !== "" && toggle(Number(choose.value));
    const save = element("button", { type: "button", textContent: "CSV" });
    const caption = table.caption.textContent;
    attribute(save, { "aria-label": `table as CSV: ${caption}` });
    save.onclick = () => download(caption.toLowerCase().replace(/[^a-z0-9]+/g, "-"), [names, ...[...table.tBodies[0].rows].map((r) => [...r.cells].map((c) => c.textContent))]);
    table.parentElement.before(element("div", { className: "by-table" }, element("label", { className: "sort-by" }, "sort by", choose), save));
  }

  function tooltips() {
    const tip = attribute(element("div", { id: "tip", hidden: true }), { role: "tooltip" });
    document.body.append(tip);
    const hide = () => ((tip.hidden = true), document.querySelectorAll("[aria-describedby=tip]").forEach((e) => e.removeAttribute("aria-describedby")));
    const show = (term) => {
      tip.textContent = term.dataset.tip;
      tip.hidden = false;
      term.setAttribute("aria-describedby", "tip");
      const at = term.getBoundingClientRect(), box = tip.getBoundingClientRect();
      const below = at.bottom + box.height + 8 < innerHeight;
      tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - box.width - 8))}px`;
      tip.style.top = `${below ? at.bottom + 6 : Math.max(4, at.top - box.height - 6)}px`;
    };
    const over = (event) => {
      const term = event.target.closest && event.target.closest("[data-tip]");
      if (term) show(term); else if (event.type !== "focusin") hide();
    };
    document.addEventListener("mouseover", over);
    document.addEventListener("focusin", over);
    document.addEventListener("focusout", hide);
    document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
    // A tap shows the words; the glossary is a second tap away.
    document.addEventListener("click", (event) => {
      const term = event.target.closest("a.term");
      if (term && matchMedia("(hover: none)").matches && !term.dataset.seen) event.preventDefault(), (term.dataset.seen = "1"), show(term);
    });
  }

  data.sections.forEach(controls);
  figures.forEach(tools);
  recolour();
  figures.forEach((figure) => figure.root.querySelectorAll("[data-view]").forEach((e) => (e.hidden = Number(e.dataset.view) !== current(figure))));
  document.querySelectorAll(".table > table").forEach(sortable);
  tooltips();
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((e) => e.isIntersecting)) {
      const figure = figures[Number(entry.target.dataset.figure)];
      watch.unobserve(entry.target);
      figure.near = true;
      update(figure);
    }
  }, { rootMargin: "600px" });
  figures.forEach((figure) => watch.observe(figure.root));
  addEventListener("beforeprint", () => figures.forEach((f) => ((f.near = true), update(f))));
  Figures.dark.addEventListener("change", () => (recolour(), redraw()));
})();
