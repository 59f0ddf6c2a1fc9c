// Charts: drawn when they come near, steered by what the reader picks.

const places = [...document.querySelectorAll("[data-spec]")];
const views = []; // { place, view, explorer, signals } of each chart that is drawn

// What draws charts is half of the page: it is unpacked once the page answers, or when a chart is near.
let drawer = null;
const chartScripts = () => (drawer ||= unpacked("chart-scripts").then((text) => { document.head.append(element("script", { text })); }));

const drawings = new Map(); // place -> the promise of its chart

// Draw a chart, once; a hidden one has no width: it is drawn when it is shown.
function draw(place) {
  if (place.offsetParent && !drawings.has(place)) drawings.set(place, drawOnce(place));
  return drawings.get(place);
}

async function drawOnce(place) {
  const spec = readSpec(place.dataset.spec);
  const description = place.getAttribute("aria-label");
  spec.description = description;
  try {
    await chartScripts();
    const { view } = await window.vegaEmbed(place, spec, { actions: false, renderer: "svg", tooltip: { theme: "custom" } });
    const signals = Object.keys(view.getState({ signals: (name) => name && !name.includes(":") }).signals || {});
    const entry = { place, view, explorer: place.dataset.explorer || "", signals, heightOnPaper: Number(place.dataset.paperHeight), height: view.height() };
    views.push(entry);
    fitPaper(entry);
    if (signals.includes("chosen")) {
      view.addEventListener("click", (event, item) => {
        const run = item && item.datum && item.datum.run;
        if (run && page.runs[run]) pointAt(run);
        else if (run) pick(entry.explorer, run);
      });
    }
    await steer(entry);
    place.style.minHeight = "";
    // The place itself is described in words; what embedding puts into it, and its thousand marks, are not read out.
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", description);
    place.removeAttribute("aria-roledescription");
    [...place.children].forEach((child) => child.setAttribute("aria-hidden", "true"));
    place.dataset.drawn = "done";
    if (entry.explorer === "study") drawRegions(entry);
    if (region && region.chart === place.dataset.spec) placeRegion();
  } catch (error) {
    place.replaceChildren(element("p", { text: description })); // what it shows, in words
    console.error("chart " + place.dataset.spec + " could not be drawn", error);
  }
}

async function steer(entry) {
  const { view, explorer, signals } = entry;
  const state = states[explorer];
  const ofRuns = !(state && state.line); // published models are no runs of the study
  if (signals.includes("chosen")) view.signal("chosen", (state && state.model) || (ofRuns ? chosen : ""));
  if (signals.includes("second")) view.signal("second", ofRuns ? second : "");
  if (signals.includes("region")) view.signal("region", ofRuns ? regionRuns : null);
  for (const name of ["by", "hidden", "behind", "line", "search"]) if (state && signals.includes(name)) view.signal(name, state[name]);
  await view.runAsync();
}

const steerAll = (explorer) => Promise.all(views.filter((entry) => !explorer || entry.explorer === explorer).map(steer));

// Charts are drawn when they come near, one after the other, so that the page answers in between.
const waiting = new Set();
let drawing = false;

async function drawWaiting() {
  if (drawing) return;
  drawing = true;
  document.documentElement.dataset.charts = "waiting";
  for (let [place] = waiting; place; [place] = waiting) {
    waiting.delete(place);
    await draw(place);
    await new Promise((resolve) => setTimeout(resolve));
  }
  drawing = false;
  document.documentElement.dataset.charts = "drawn";
  whenIdle(startTables);
}

function drawAsTheyComeNear() {
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !drawings.has(target)) waiting.add(target);
      else waiting.delete(target); // it was scrolled past
    }
    drawWaiting();
  }, { rootMargin: "600px 0px" });
  places.forEach((place) => near.observe(place));
  if (!places.length) drawWaiting(); // there is nothing to wait for
  else whenIdle(chartScripts);
}
