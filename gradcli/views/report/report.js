// What a report does beyond standing still: charts, maps that answer, sorting, copying.
// All data are in the page, in script elements of type application/json.
"use strict";
(() => {
  const LIGHT = ["#0072b2", "#c24e00", "#00805d", "#b0508a", "#8f6200", "#2f7fb8", "#222222", "#7a5195"];
  const DARK = ["#56b4e9", "#ff9152", "#2fd0a0", "#e9a3c9", "#f0b93a", "#a9d6f5", "#f2f2f2", "#c3a6ea"];
  const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
  const HEIGHT = 260;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const plots = new Map(); // by the name of the chart
  const maps = []; // [svg, data]
  let printing = false;

  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const read = (script) => JSON.parse(script.textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function written(value) {
    if (value === null || value === undefined) return "–";
    if (value === 0 || Number.isInteger(value)) return String(value);
    const size = Math.abs(value);
    return size >= 1e-3 && size < 1e6 ? String(+value.toPrecision(5)) : value.toExponential(3);
  }

  // Charts ------------------------------------------------------------------------------------

  function axis(label, stroke, grid, isLog) {
    return {
      label,
      stroke,
      grid: { stroke: grid, width: 1 },
      ticks: { stroke: grid, width: 1 },
      labelSize: 22,
      font: "12px system-ui",
      labelFont: "12px system-ui",
      values: (plot, splits) => splits.map((value) => (value === null ? "" : short(value, isLog ? 2 : 6))),
    };
  }

  function short(value, digits) {
    if (value === 0) return "0";
    const size = Math.abs(value);
    return size >= 1e-3 && size < 1e5 ? String(+value.toPrecision(digits)) : value.toExponential(0);
  }

  function optionsOf(name, given, width) {
    const colours = dark.matches && !printing ? DARK : LIGHT;
    const ink = css("--ink");
    const grid = css("--grid");
    const series = [{ label: given.xLabel, value: (plot, value) => written(value) }];
    const data = [given.x];
    const bands = [];
    for (const one of given.series) {
      const colour = colours[one.look % colours.length];
      const dash = DASHES[(Math.floor(one.look / colours.length) + (one.dashed ? 1 : 0)) % DASHES.length];
      if (one.low) {
        for (const values of [one.high, one.low]) {
          series.push({ show: true, label: "", stroke: "transparent", width: 0, points: { show: false }, ofBand: true });
          data.push(values);
        }
        bands.push({ series: [series.length - 2, series.length - 1], fill: colour + "33" });
      }
      series.push({
        label: one.label,
        stroke: colour,
        width: one.points && one.values.length === 1 ? 0 : 1.6,
        dash,
        spanGaps: one.points || given.series.length > 1,
        points: { show: one.points, size: 7, fill: colour, stroke: colour },
        value: (plot, value) => written(value),
      });
      data.push(one.values);
    }
    const roomy = (isLog) => (plot, low, high) => {
      if (low === null || low === undefined) return isLog ? [0.1, 10] : [0, 1];
      if (isLog) return low === high ? [low / 3, high * 3] : [low / 1.2, high * 1.2];
      const room = low === high ? Math.abs(low) * 0.1 || 1 : (high - low) * 0.06;
      return [low - room, high + room];
    };
    const tight = (isLog) => (plot, low, high) => (low === high ? (isLog ? [low / 2, high * 2] : [low - 1, high + 1]) : [low, high]);
    return [
      {
        width,
        height: HEIGHT,
        scales: {
          x: { time: false, distr: given.xLog ? 3 : 1, range: tight(given.xLog) },
          y: { distr: given.yLog ? 3 : 1, range: roomy(given.yLog) },
        },
        axes: [axis(given.xLabel, ink, grid, given.xLog), { ...axis(given.yLabel, ink, grid, given.yLog), size: 64 }],
        series,
        bands,
        cursor: {
          points: { size: 8 },
          sync: given.together ? { key: given.together, scales: ["x", null], filters: { pub: (kind) => kind.startsWith("mousem") || kind === "mouseleave" } } : undefined,
        },
        hooks: {
          draw: [(plot) => drawMarks(plot, given.marks, ink)],
          setScale: [(plot, key) => key === "x" && zoomed(name, given.together, plot.scales.x)],
          setCursor: [(plot) => tell(name, given, plot.cursor.idx)],
        },
      },
      data,
    ];
  }

  function drawMarks(plot, marks, ink) {
    const context = plot.ctx;
    context.save();
    context.strokeStyle = context.fillStyle = ink;
    context.font = `${11 * devicePixelRatio}px system-ui`;
    context.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    let free = -Infinity;
    for (const mark of marks) {
      const x = plot.valToPos(mark.x, "x", true);
      if (x < plot.bbox.left || x > plot.bbox.left + plot.bbox.width) continue;
      context.beginPath();
      context.moveTo(x, plot.bbox.top);
      context.lineTo(x, plot.bbox.top + plot.bbox.height);
      context.stroke();
      const wide = context.measureText(mark.text).width;
      if (x > free && x + wide < plot.bbox.left + plot.bbox.width) {
        context.fillText(mark.text, x + 3 * devicePixelRatio, plot.bbox.top + 11 * devicePixelRatio);
        free = x + wide;
      }
    }
    context.restore();
  }

  function tell(name, given, index) {
    const place = document.querySelector(`[data-readout="${name}"]`);
    if (!place || document.activeElement !== document.querySelector(`[data-chart="${name}"]`)) return;
    if (index === null || index === undefined) return;
    const values = given.series.filter((one) => one.values[index] !== null).map((one) => `${one.label} ${written(one.values[index])}`);
    place.textContent = `${given.xLabel} ${written(given.x[index])}: ${values.join(", ") || "no value"}`;
  }

  // While charts are built, and while one follows another, nothing follows.
  let isZooming = true;
  function zoomed(name, together, { min, max }) {
    if (isZooming || !together || min === null || min === undefined) return;
    isZooming = true;
    const { given: own } = plots.get(name);
    if (min <= own.x[0] && max >= own.x[own.x.length - 1]) [min, max] = [-Infinity, Infinity];
    for (const [other, { plot, given }] of plots) {
      if (other === name || given.together !== together || !plot) continue;
      const [low, high] = [Math.max(min, given.x[0]), Math.min(max, given.x[given.x.length - 1])];
      if (low < high) plot.setScale("x", { min: low, max: high });
    }
    if (together === "steps") for (const [svg, data] of maps) zoomMap(svg, data, min, max);
    isZooming = false;
  }

  function build(place) {
    const name = place.dataset.chart;
    const given = read(document.querySelector(`script[data-for="${name}"]`));
    place.textContent = "";
    const [options, data] = optionsOf(name, given, Math.max(place.clientWidth, 200));
    plots.set(name, { plot: null, given, place });
    const plot = new uPlot(options, data, place);
    plots.set(name, { plot, given, place });
    all(".u-series", place).forEach((row, number) => {
      if (plot.series[number].ofBand) row.hidden = true;
    });
    place.dataset.drawn = String(given.series.length);
  }

  function keys(event) {
    const { plot, given } = plots.get(event.currentTarget.dataset.chart);
    const last = given.x.length - 1;
    const at = plot.cursor.idx ?? 0;
    const moves = { ArrowLeft: Math.max(at - 1, 0), ArrowRight: Math.min(at + 1, last), Home: 0, End: last };
    const { min, max } = plot.scales.x;
    if (event.key in moves) {
      const index = moves[event.key];
      plot.setCursor({ left: plot.valToPos(given.x[index], "x"), top: plot.over.clientHeight / 2 });
      tell(event.currentTarget.dataset.chart, given, index);
    } else if (event.key === "+" || event.key === "-") {
      const middle = given.x[at];
      const factor = event.key === "+" ? 0.5 : 2;
      plot.setScale("x", {
        min: Math.max(given.x[0], middle - (middle - min) * factor),
        max: Math.min(given.x[last], middle + (max - middle) * factor),
      });
    } else if (event.key === "0" || event.key === "Escape") {
      plot.setScale("x", { min: given.x[0], max: given.x[last] });
    } else {
      return;
    }
    event.preventDefault();
  }

  function rebuild() {
    isZooming = true;
    all(".chart").forEach(build);
    setTimeout(() => (isZooming = false)); // a chart sets its scales after it is made
  }

  // Maps --------------------------------------------------------------------------------------

  function zoomMap(svg, data, min, max) {
    const count = data.first.length;
    let from = data.last.findIndex((step) => step >= min);
    let to = count - 1;
    while (to > 0 && data.first[to] > max) to -= 1;
    if (from < 0) from = count - 1;
    svg.setAttribute("viewBox", `${from} 0 ${Math.max(to - from + 1, 1)} ${data.layers.length}`);
  }

  function showCell(svg, data, bin, layer) {
    const box = svg.viewBox.baseVal;
    bin = Math.min(Math.max(bin, box.x), box.x + box.width - 1);
    layer = Math.min(Math.max(layer, 0), data.layers.length - 1);
    svg.dataset.bin = bin;
    svg.dataset.layer = layer;
    const [first, last] = [data.first[bin], data.last[bin]];
    const value = data.values[layer][bin];
    const place = svg.closest("figure").querySelector("output");
    const when = first === last ? `step ${first}` : `steps ${first} to ${last}`;
    place.textContent = `${data.layers[layer]}, ${when}: ${data.label} ${value === null ? "NaN or infinite" : written(value)}`;
    outline(svg, bin, layer, 1);
  }

  function outline(svg, bin, layer, width) {
    let box = svg.querySelector("rect");
    if (!box) {
      box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      svg.append(box);
    }
    for (const [name, value] of Object.entries({ x: bin, y: layer, width, height: 1 })) box.setAttribute(name, value);
  }

  function prepareMap(svg) {
    const data = read(document.querySelector(`script[data-map="${svg.dataset.mapOf}"]`));
    maps.push([svg, data]);
    svg.addEventListener("pointermove", (event) => {
      const area = svg.getBoundingClientRect();
      const box = svg.viewBox.baseVal;
      const bin = Math.floor(box.x + ((event.clientX - area.left) / area.width) * box.width);
      showCell(svg, data, bin, Math.floor(((event.clientY - area.top) / area.height) * data.layers.length));
    });
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!move) return;
      showCell(svg, data, Number(svg.dataset.bin ?? 0) + move[0], Number(svg.dataset.layer ?? 0) + move[1]);
      event.preventDefault();
    });
  }

  function choose(event) {
    const figure = event.target.closest("figure");
    for (const svg of all("svg[data-map-of]", figure)) svg.toggleAttribute("hidden", svg.dataset.mapOf !== event.target.value);
  }

  function pointAt(layer) {
    for (const [svg, data] of maps) {
      const row = data.layers.indexOf(layer);
      if (row >= 0) outline(svg, 0, row, data.first.length);
    }
  }

  // Tables and commands -----------------------------------------------------------------------

  function number(text) {
    const value = parseFloat(text.replace(/,/g, "").replace(/^[<>]/, ""));
    return Number.isNaN(value) ? null : value;
  }

  function sort(event) {
    const head = event.currentTarget.closest("th");
    const body = head.closest("table").tBodies[0];
    const column = head.cellIndex;
    const isRising = head.getAttribute("aria-sort") !== "ascending";
    all("th", head.parentElement).forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", isRising ? "ascending" : "descending");
    const key = (row) => row.cells[column].textContent.trim();
    const rows = [...body.rows].sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      const [x, y] = [number(a), number(b)];
      if (x === null && y === null) return isRising ? a.localeCompare(b) : b.localeCompare(a);
      if (x === null || y === null) return x === null ? 1 : -1; // what has no number comes last
      return isRising ? x - y : y - x;
    });
    body.append(...rows);
  }

  async function copy(event) {
    const button = event.currentTarget;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling); // to be copied by hand
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  }

  // All together ------------------------------------------------------------------------------

  all("svg[data-map-of]").forEach(prepareMap);
  all(".choice input").forEach((input) => input.addEventListener("change", choose));
  all(".sortable th button").forEach((button) => button.addEventListener("click", sort));
  all(".copy").forEach((button) => button.addEventListener("click", copy));
  for (const finding of all(".finding[data-layer]")) {
    for (const kind of ["pointerenter", "focus"]) finding.addEventListener(kind, () => pointAt(finding.dataset.layer));
  }
  all(".chart").forEach((place) => place.addEventListener("keydown", keys));
  rebuild();
  dark.addEventListener("change", rebuild);
  addEventListener("beforeprint", () => {
    printing = true;
    rebuild();
  });
  addEventListener("afterprint", () => {
    printing = false;
    rebuild();
  });
  new ResizeObserver(() => {
    for (const { plot, place } of plots.values()) {
      const width = Math.max(place.clientWidth, 200);
      if (plot && Math.abs(plot.width - width) > 1) plot.setSize({ width, height: HEIGHT });
    }
  }).observe(document.querySelector("main"));
})();
