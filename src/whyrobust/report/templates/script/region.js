// A region of a panel, drawn with the pointer or moved with the arrow keys: its runs stand out in all panels and are the
// rows of the table.

const KEY_STEP = 12; // pixels
const LEAST_DRAG = 6; // pixels; less is a click
let region = null; // { chart: key of its spec, x: [low, high], y: [low, high] } on the scales of the chart, or null
let regionRuns = null; // names of the runs in it, or null

const entryOf = (key) => views.find((entry) => entry.place.dataset.spec === key);
const chartOf = (key) => places.find((one) => one.dataset.spec === key);

// The plot of a chart on the page, and between pixels in it and the chart's scales.
function plotOf(entry) {
  const box = entry.place.querySelector("svg .root > g > .background").getBoundingClientRect();
  const [x, y] = ["x", "y"].map((name) => entry.view.scale(name));
  const ordered = (a, b) => [Math.min(a, b), Math.max(a, b)];
  return {
    box,
    read: (pixels) => ({ x: ordered(x.invert(pixels.left), x.invert(pixels.right)), y: ordered(y.invert(pixels.top), y.invert(pixels.bottom)) }),
    place: (area) => {
      const [[left, right], [top, bottom]] = [ordered(...area.x.map(x)), ordered(...area.y.map(y))];
      return { left, right, top, bottom };
    },
  };
}

function setRegion(area, step = true) {
  region = area;
  const state = states.study;
  const holds = ([low, high], value) => low <= value && value <= high;
  regionRuns = area && [...new Set(rowsOf(chartOf(area.chart)).points
    .filter((point) => page.runs[point.run] && isPointShown(page.explorers.study, state, point) && holds(area.x, point.x) && holds(area.y, point.y))
    .map((point) => point.run))];
  steerAll();
  filterRows();
  placeRegion();
  const news = document.getElementById("region-news");
  if (news) news.replaceChildren(...(area ? [`${counted(regionRuns.length, "run")} in the region on ${chartOf(area.chart).dataset.title}: they stand out in all panels and are the rows of the table. `,
    element("button", { type: "button", text: "Clear the region", onclick: () => setRegion(null) })] : []));
  if (step) keepStep();
}

// Draw the rectangle where it belongs, as the chart is now.
function placeRegion() {
  let box = document.getElementById("region");
  const entry = region && entryOf(region.chart);
  if (!entry || !entry.place.offsetParent) { if (box) box.remove(); return; }
  const figure = entry.place.closest("figure");
  if (!box || box.parentElement !== figure) {
    if (box) box.remove();
    box = element("div", { id: "region", tabindex: "0", role: "application", onkeydown: moveRegion });
    figure.append(box);
  }
  box.setAttribute("aria-label", `Region on ${entry.place.dataset.title}: arrow keys move it, with Shift they change its size, Escape removes it`);
  const { box: plot, place } = plotOf(entry);
  const outer = figure.getBoundingClientRect();
  const { left, right, top, bottom } = place(region);
  Object.assign(box.style, { left: `${plot.left - outer.left + left}px`, top: `${plot.top - outer.top + top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
}

function moveRegion(event) {
  if (event.key === "Escape") {
    event.stopPropagation(); // it removes the region and leaves the panel of runs open
    const tool = chartOf(region.chart).closest("figure").querySelector(".to-region");
    setRegion(null);
    tool.focus({ preventScroll: true });
    return;
  }
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] || [];
  if (dx === undefined) return;
  event.preventDefault();
  const plot = plotOf(entryOf(region.chart));
  const pixels = plot.place(region);
  pixels.right += KEY_STEP * dx;
  pixels.bottom += KEY_STEP * dy;
  if (event.shiftKey) {
    pixels.right = Math.max(pixels.right, pixels.left + KEY_STEP);
    pixels.bottom = Math.max(pixels.bottom, pixels.top + KEY_STEP);
  } else {
    pixels.left += KEY_STEP * dx;
    pixels.top += KEY_STEP * dy;
  }
  setRegion({ chart: region.chart, ...plot.read(pixels) }, false);
  keepStep(true);
}

// A button that puts a region into the middle of a panel, for the keyboard and for fingers.
function regionTool(chart) {
  return element("button", { type: "button", class: "to-region", "aria-label": `Select a region on ${chart.dataset.title}`, text: "Select a region", onclick: async () => {
    await draw(chart);
    const entry = entryOf(chart.dataset.spec);
    if (!entry) return;
    const plot = plotOf(entry);
    const { width, height } = plot.box;
    setRegion({ chart: chart.dataset.spec, ...plot.read({ left: width / 3, right: 2 * width / 3, top: height / 3, bottom: 2 * height / 3 }) });
    document.getElementById("region").focus({ preventScroll: true });
    chart.style.touchAction = "none"; // the next drag of a finger draws a region and does not scroll
  } });
}

// Draw a region with the mouse or a pen; a finger scrolls the page, except after "Select a region".
function drawRegions(entry) {
  const { place } = entry;
  let start = null;
  let isDragged = false;
  const at = (event, box) => ({ x: Math.min(Math.max(event.clientX - box.left, 0), box.width), y: Math.min(Math.max(event.clientY - box.top, 0), box.height) });
  const area = (event) => {
    const plot = plotOf(entry);
    const end = at(event, plot.box);
    return { chart: place.dataset.spec, ...plot.read({ left: Math.min(start.x, end.x), right: Math.max(start.x, end.x), top: Math.min(start.y, end.y), bottom: Math.max(start.y, end.y) }) };
  };
  place.addEventListener("pointerdown", (event) => {
    const { box } = plotOf(entry);
    const isInside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    isDragged = false;
    start = isInside && event.button === 0 && (event.pointerType !== "touch" || place.style.touchAction === "none") ? at(event, box) : null;
    if (start) event.preventDefault(); // no text is selected
  });
  window.addEventListener("pointermove", (event) => {
    if (!start) return;
    const now = at(event, plotOf(entry).box);
    isDragged = isDragged || Math.hypot(now.x - start.x, now.y - start.y) >= LEAST_DRAG;
    if (!isDragged) return;
    region = area(event);
    placeRegion();
  });
  window.addEventListener("pointerup", (event) => {
    if (start && isDragged) setRegion(area(event));
    if (start) place.style.touchAction = "";
    start = null;
  });
  window.addEventListener("pointercancel", () => { start = null; });
  // The click that ends a drag chooses no run.
  place.addEventListener("click", (event) => { if (isDragged) event.stopPropagation(); }, true);
}

function startRegion() {
  if (!page.explorers.study) return;
  window.addEventListener("resize", () => requestAnimationFrame(() => requestAnimationFrame(placeRegion)));
  inAddress.push({
    write: (params) => {
      if (region) params.set("region", [region.chart, ...[...region.x, ...region.y].map((value) => value.toFixed(3))].join("_"));
    },
    read: (params) => {
      const [chart, ...ends] = (params.get("region") || "").split("_");
      const [x0, x1, y0, y1] = ends.map(Number);
      const isKnown = places.some((one) => one.dataset.spec === chart && one.dataset.explorer === "study");
      const area = isKnown && [x0, x1, y0, y1].every(Number.isFinite) ? { chart, x: [x0, x1], y: [y0, y1] } : null;
      if (area || region) setRegion(area, false);
    },
  });
}
