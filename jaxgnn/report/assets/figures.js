// Descriptions of figures (jaxgnn.report.interactive) to Plotly's traces and layouts. Values stay those of the arrays;
// the scale only decides where they are drawn.
"use strict";
const Figures = (() => {
  const LIGHT = ["#0072B2", "#C44E00", "#00875F", "#B0548A", "#A87400", "#7A5AC8", "#1a1a1a"];
  const DARK = ["#3d9be9", "#ff7a33", "#1fbf8f", "#e08fc0", "#f2b134", "#b9a4f5", "#f2f2f2"];
  const MARKERS = ["circle", "square", "diamond", "triangle-down", "triangle-up", "pentagon", "x"];
  const SHADES = [0.28, 0.15, 0.1];
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const colour = (number) =>
    number < 0 ? (dark.matches ? "#9a9a9a" : "#777") : (dark.matches ? DARK : LIGHT)[number % LIGHT.length];

  function faded(hex, alpha) {
    const full = hex.length === 4 ? "#" + [...hex.slice(1)].map((c) => c + c).join("") : hex;
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(full.slice(i, i + 2), 16));
    return `rgba(${r},${g},${b},${alpha})`;
  }

  // Plotly reads a little markup in texts: names are to be seen as they are.
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function unpack(array) {
    if (Array.isArray(array)) return array;
    if ("size" in array) return Array.from({ length: array.size }, (_, i) => array.first + i * array.step);
    const text = atob(array.f4 || array.f8);
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    const values = array.f4 ? new Float32Array(bytes.buffer) : new Float64Array(bytes.buffer);
    return Array.from(values, (v) => (Number.isFinite(v) ? (array.f4 ? Number(v.toPrecision(7)) : v) : null));
  }

  function unpacked(panel) {
    if (panel.ready) return panel;
    for (const one of panel.series) {
      one.x = unpack(one.x);
      one.y = unpack(one.y);
      one.bands = one.bands.map((band) => band.map(unpack));
      one.errors = one.errors && one.errors.map(unpack);
    }
    panel.ready = true;
    return panel;
  }

  function number(value) {
    if (value === null || value === undefined) return "none";
    if (value === 0) return "0";
    const size = Math.abs(value);
    const text = size >= 1e-3 && size < 1e6 ? String(Number(value.toPrecision(5))) : value.toExponential(4);
    return text.replace(/\.?0+e/, "e").replace("e+", "e");
  }

  const name = (one) => one.label + (one.variants.length ? `, ${one.variants.join(", ")}` : "");
  const log10 = (ends) => ends.map(Math.log10);

  function hover(panel, one, i) {
    let text = `${plain(name(one))}: ${number(one.y[i])}`;
    const ends = one.errors || one.bands[0];
    if (ends && ends[0][i] !== null) text += ` (${number(ends[0][i])} to ${number(ends[1][i])})`;
    if (panel.right && one.y[i] !== null)
      text += `, ${plain(panel.right.label.split(" ")[0])} ${number(one.y[i] * panel.right.factor)}`;
    return text;
  }

  // Where a value is drawn: on a log scale what is 0 has no place, unless there is a floor.
  const placed = (values, log, floor) =>
    values.map((v) => (v === null || !log ? v : floor !== null && v >= 0 ? Math.max(v, floor) : v > 0 ? v : null));

  // What of a band goes down to 0 is faint on a log scale: it would cover all else.
  function bands(panel, one, log, bottom, tint) {
    const edge = { type: "scatter", mode: "lines", x: one.x, line: { width: 0 }, hoverinfo: "skip" };
    const between = (low, high, alpha) => [
      { ...edge, y: low },
      { ...edge, y: high, fill: "tonexty", fillcolor: faded(tint, alpha) },
    ];
    const line = placed(one.y, log, panel.y.floor);
    return one.bands
      .map((band, i) => {
        const [low, high] = band.map((end) => placed(end, log, panel.y.floor));
        const open = low.map((v, j) => v === null && high[j] !== null);
        const shaded = between(low.map((v, j) => (open[j] ? (line[j] ?? bottom) : v)), high, SHADES[i] || 0.1);
        if (!open.includes(true)) return shaded;
        const from = open.map((is, j) => (is ? bottom : (low[j] ?? null)));
        return [...between(from, from.map((v, j) => (open[j] ? (line[j] ?? bottom) : v)), 0.06), ...shaded];
      })
      .reverse()
      .flat();
  }

  function bars(one, log, bottom, tint) {
    const [low, high] = one.errors;
    const reach = (a, b) => a.map((v, i) => (v === null || b[i] === null ? 0 : Math.max(v - b[i], 0)));
    const lower = log ? low.map((v, i) => (v === null || v > 0 ? v : Math.min(bottom, one.y[i]))) : low;
    const look = { type: "data", symmetric: false, color: tint, thickness: 1, width: 3 };
    return { ...look, array: reach(high, one.y), arrayminus: reach(one.y, lower) };
  }

  function traces(panel, one, log, bottom) {
    const tint = colour(one.colour);
    const text = one.y.map((_, i) => hover(panel, one, i));
    const trace = { type: "scatter", x: one.x, text, hovertemplate: "%{text}<extra></extra>", name: plain(name(one)) };
    if (one.kind === "bars") {
      const heights = [...one.y, one.y[one.y.length - 1]];
      const said = text.map((t, i) => `${t} from ${number(one.x[i])} to ${number(one.x[i + 1])}`);
      const line = { color: tint, width: 1.2, shape: "hv" };
      return [{ ...trace, y: heights, text: [...said, ""], mode: "lines", line, fill: "tozeroy", fillcolor: faded(tint, 0.3) }];
    }
    trace.y = placed(one.y, log, panel.y.floor);
    trace.connectgaps = false;
    if (one.kind === "points") {
      const size = Math.min(7, Math.max(3, 90 / Math.sqrt(one.y.length + 1)));
      trace.text = one.y.map((y, i) => `${plain(name(one))}: ${at(panel.x, one.x[i])}, ${at(panel.y, y)}`);
      if (one.errors) trace.error_y = bars(one, log, bottom, tint);
      return [{ ...trace, mode: "markers", marker: { color: tint, size, opacity: one.y.length > 100 ? 0.7 : 1 } }];
    }
    trace.mode = one.marked ? "lines+markers" : "lines";
    trace.line = { color: tint, width: one.width + 0.2, dash: one.dash };
    trace.marker = { color: tint, size: 4 + one.width, symbol: MARKERS[one.colour % 7] || "circle" };
    if (one.errors) trace.error_y = bars(one, log, bottom, tint);
    return [...bands(panel, one, log, bottom, tint), trace];
  }

  // The words of a line stay inside: below it in the upper half, above it in the lower.
  function shape(reference, ink, middle) {
    const line = { color: ink, width: 1, dash: "dash" };
    const label = { text: plain(reference.label), font: { size: 11, color: ink }, textposition: "start" };
    const v = reference.value;
    if (reference.of === "circle") return { type: "circle", x0: -v, x1: v, y0: -v, y1: v, line };
    if (reference.of === "x")
      return { type: "line", xref: "x", yref: "paper", x0: v, x1: v, y0: 0, y1: 1, line, label: { ...label, textposition: "end", textangle: 0, xanchor: "left" } };
    return { type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: v, y1: v, line, label: { ...label, yanchor: v > middle ? "top" : "bottom" } };
  }

  const named = (described) => (described.names.length ? described.names.map(plain) : described.ticks.map(number));

  // A place on an axis in words: its name where it has one.
  function at(described, value) {
    const i = described.names.length ? described.ticks.indexOf(value) : -1;
    return i < 0 ? number(value) : plain(described.names[i]);
  }

  function axis(described, log, grid) {
    const found = { title: { text: plain(described.label), standoff: 6, font: { size: 12 } }, gridcolor: grid };
    Object.assign(found, { type: log ? "log" : "linear", zeroline: false, automargin: true, exponentformat: "power" });
    if (described.ticks.length) {
      Object.assign(found, { tickvals: described.ticks, ticktext: named(described) });
    } else if (log && described.log_view && described.log_view[1] < 150 * described.log_view[0]) {
      Object.assign(found, { dtick: "D2", tickformat: ".2~g" });
    } else if (log && described.log_view && described.log_view[1] < 1e7 * described.log_view[0]) {
      found.dtick = 1;
    } else if (described.whole && described.linear_view) {
      const span = described.linear_view[1] - described.linear_view[0];
      const raw = span / 7, power = 10 ** Math.floor(Math.log10(Math.max(raw, 1)));
      found.dtick = Math.max(1, [1, 2, 5, 10].find((k) => k * power >= raw) * power);
      found.tickformat = ",d";
    }
    return found;
  }

  // The ends of the vertical axis; the figures of one scale have those of all.
  function range(panels, log) {
    const ends = panels.map((p) => (log ? p.y.log_view : p.y.linear_view)).filter(Boolean);
    if (!ends.length) return null;
    const joined = [Math.min(...ends.map((e) => e[0])), Math.max(...ends.map((e) => e[1]))];
    return log ? log10(joined) : joined;
  }

  // What Plotly draws: shown(series) says which are, panels whose scale is shared.
  function plotly(panel, { log, shown, panels }) {
    panels.forEach(unpacked);
    unpacked(panel);
    const ink = dark.matches ? "#c8ccd2" : "#444", grid = dark.matches ? "#363b44" : "#e4e6ea";
    const ends = range(panels, log);
    const middle = !ends ? 0 : log ? 10 ** ((ends[0] + ends[1]) / 2) : (ends[0] + ends[1]) / 2;
    const bottom = log && ends ? 10 ** ends[0] : 0;
    const data = panel.series.filter(shown).flatMap((one) => traces(panel, one, log, bottom));
    const x = axis(panel.x, panel.x.log, grid), y = axis(panel.y, log, grid);
    y.title.text = "";
    if (ends) y.range = [...ends];
    if (panel.half) x.range = [-panel.half, panel.half], y.range = [-panel.half, panel.half];
    if (panel.equal) Object.assign(y, { scaleanchor: "x", scaleratio: 1 });
    const points = panel.series.some((one) => one.kind === "points");
    const layout = {
      xaxis: x, yaxis: y, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 12, color: ink }, margin: { l: 48, r: 12, t: 26, b: 44 },
      hovermode: points ? "closest" : "x unified", hoverlabel: { font: { size: 12 }, align: "left", namelength: -1 },
      shapes: panel.references.map((r) => shape(r, ink, middle)), dragmode: "zoom",
    };
    layout.hoverlabel.bgcolor = dark.matches ? "#22252b" : "#ffffff";
    layout.hoverlabel.font.color = dark.matches ? "#e8e8e8" : "#1a1a1a";
    return { data, layout };
  }

  // One row a value: what a download and the table of values hold.
  function rows(panel) {
    const found = [["series", "state", panel.x.label, panel.y.label, "low", "high"]];
    for (const one of unpacked(panel).series) {
      const ends = one.errors || one.bands[0];
      one.y.forEach((y, i) => {
        const more = ends ? [ends[0][i], ends[1][i]] : ["", ""];
        found.push([one.label, one.variants.join(", "), one.x[i], y, ...more]);
      });
    }
    return found;
  }

  return { plotly, rows, colour, number, dark };
})();
