// An explorer: panels that the reader steers together. Colours, filters, and a legend that leaves kinds out.

const states = {}; // explorer -> { by, hidden, behind, line, search, model, view }

function explorerStart(settings) {
  return {
    by: settings.pair ? "pair" : settings.choices[0].name,
    hidden: Object.fromEntries(settings.choices.map((choice) => [choice.name, [...(settings.hidden[choice.name] || [])]])),
    behind: true,
    line: Object.keys(settings.lines)[0] || "",
    search: "",
    model: "",
    view: Object.keys(settings.views)[0] || "",
  };
}

function controls(place) {
  const key = place.dataset.controls;
  const settings = page.explorers[key];
  if (!settings) return;
  const state = explorerStart(settings);
  states[key] = state;
  const legend = element("ul", { class: "legend", "aria-label": "Legend; press an entry to leave it out" });
  const count = element("p", { class: "muted", role: "status" });
  const filters = element("div", { class: "filters" });
  const { all, models } = readPoints(key, settings);
  const isShown = (point) => isPointShown(settings, state, point);

  function hide(field, values) {
    state.hidden = { ...state.hidden, [field]: values };
    refresh();
    keepStep();
  }

  function toggle(field, value) {
    const hidden = state.hidden[field];
    hide(field, hidden.includes(value) ? hidden.filter((other) => other !== value) : [...hidden, value]);
  }

  // One value alone; all of them where it is alone already.
  function only(choice, value) {
    const others = ownValues(choice).filter((other) => other !== value);
    const isAlone = !state.hidden[choice.name].includes(value) && others.every((other) => state.hidden[choice.name].includes(other));
    hide(choice.name, isAlone ? [] : others);
  }

  function legendEntry(choice, entry, drawn) {
    const mark = element("span", { class: "mark", "aria-hidden": "true", style: `color:${entry.colour}`, text: entry.mark });
    if (entry.layer) return element("li", {}, element("span", { class: "still" }, mark, entry.value));
    const pressed = !state.hidden[choice.name].includes(entry.value);
    const none = pressed && !drawn.has(entry.value) ? element("small", { text: " none shown" }) : "";
    return element("li", {},
      element("button", { type: "button", "aria-pressed": String(pressed), onclick: () => toggle(choice.name, entry.value) }, mark, entry.value, none),
      ownValues(choice).length > 1 ? element("button", { type: "button", class: "only", "aria-label": `Only ${entry.value}`, onclick: () => only(choice, entry.value), text: "only" }) : "");
  }

  function refresh() {
    const shown = all.filter(isShown);
    const focused = [...legend.querySelectorAll("button")].indexOf(document.activeElement);
    legend.replaceChildren(...legendOf(settings, state).map(([choice, entry]) => legendEntry(choice, entry, new Set(shown.map((point) => point[choice.name])))));
    if (focused >= 0) legend.querySelectorAll("button")[focused]?.focus();
    filters.querySelectorAll("input").forEach((box) => { box.checked = !state.hidden[box.dataset.field].includes(box.value); });
    notePoints(key, settings, state);
    count.textContent = `${shown.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} ${settings.noun} shown.`;
    if (key === "study" && region) setRegion(region, false); // its runs are those of the points shown
    else steerAll(key);
  }

  settings.choices.forEach((choice) => {
    const values = ownValues(choice);
    if (values.length < 2) return;
    filters.append(element("fieldset", {}, element("legend", { text: choice.label }), ...values.map((value) =>
      element("label", {}, element("input", { type: "checkbox", "data-field": choice.name, value, onchange: () => toggle(choice.name, value) }), value))));
  });
  const row = element("div", { class: "row" });
  const select = element("select", { onchange: (event) => { state.by = event.target.value; refresh(); keepStep(); } },
    ...coloursOf(settings).map(([name, label]) => element("option", { value: name, text: label })));
  const view = element("select", { onchange: (event) => { state.view = event.target.value; showView(); keepStep(); } },
    ...Object.entries(settings.views).map(([name, label]) => element("option", { value: name, text: label })));
  function showView() {
    const grids = [...place.parentElement.querySelectorAll("[data-view]")].filter((grid) => grid.hidden === (grid.dataset.view === state.view));
    grids.forEach((grid) => { grid.hidden = !grid.hidden; }); // what is shown is drawn as it comes near
    if (grids.length) window.dispatchEvent(new Event("resize")); // what was hidden had no width to follow
  }

  if (Object.keys(settings.views).length > 1) row.append(element("label", {}, "Show", view));
  row.append(element("label", {}, "Colour and shape by", select));
  const behind = element("input", { type: "checkbox", checked: true, onchange: (event) => { state.behind = event.target.checked; refresh(); keepStep(); } });
  if (settings.background) row.append(element("label", {}, behind, "published models behind"));
  if (key === "study") row.append(element("label", {}, "Highlight", runSelect("no run", (run) => showRuns(run, ""), { class: "run-select" })));
  if (Object.keys(settings.lines).length) finder(key, settings, state, models, row);

  function showAll() {
    select.value = state.by;
    view.value = state.view;
    behind.checked = state.behind;
    showView();
    if (found[key]) found[key]();
    refresh();
  }

  row.append(element("button", { type: "button", text: "Reset", onclick: () => {
    Object.assign(state, explorerStart(settings));
    showAll();
    if (key === "study") {
      setRegion(null, false);
      showRuns("", "", false);
    }
    keepStep();
  } }));
  place.replaceChildren(row, legend);
  if (filters.childElementCount) place.append(element("details", {}, element("summary", { text: "Filter" }), filters));
  place.append(count, element("p", { class: "tools" }, element("button", { type: "button", text: "Save the points shown as CSV", onclick: () => saveFile(`${key}-points.csv`, "text/csv", pointsAsCsv(key)) })));
  if (key === "study") place.append(element("p", { class: "muted", id: "region-news", "aria-live": "polite" }));
  refresh();
  inAddress.push(explorerInAddress(key, settings, state, models, showAll));
}

// The rows of a chart of an explorer, unpacked once: those that it draws, and those that lack a measurement.
const rowsOf = (chart) => (rowsOf.known[chart.dataset.spec] ||= readSpec(chart.dataset.spec).datasets);
rowsOf.known = {};

// Published models of a low accuracy are only found by their name.
const isPointShown = (settings, state, point) => point.drawn !== 0 && settings.choices.every((choice) => !state.hidden[choice.name].includes(point[choice.name]));

// Under each panel, what its points are that are shown now: drawn hollow or on the edge, or not at all.
function notePoints(key, settings, state) {
  places.filter((chart) => chart.dataset.explorer === key).forEach((chart) => {
    const caption = chart.closest("figure")?.querySelector("figcaption");
    if (!caption) return;
    const { points: drawn, absent: lost = [] } = rowsOf(chart);
    const shown = drawn.filter((point) => !point.behind && isPointShown(settings, state, point));
    const absent = lost.filter((point) => isPointShown(settings, state, point));
    const [hollow, edge] = [shown.filter((point) => point.hollow), shown.filter((point) => point.edge)];
    const some = (list) => list.slice(0, 3).map((point) => point.words).join("; ") + (list.length > 3 ? `; and ${list.length - 3} more` : "");
    const notes = [`${counted(shown.length, "point")} shown.`];
    if (edge.length) notes.push(`Triangles on the edge: ${counted(edge.length, "point")} at 0 % or 100 %, which has no place on this axis (${some(edge)}).`);
    if (absent.length) notes.push(`Not drawn: ${counted(absent.length, "point")} without a measurement (${some(absent)}).`);
    if (hollow.length) notes.push(`Hollow: ${counted(hollow.length, "point")} outside the span of the standard models, where the prediction is extrapolated.`);
    let live = caption.querySelector(".live");
    if (!live) caption.append(live = element("div", { class: "live" }));
    live.textContent = notes.join(" ");
  });
}

// What a reader may colour by, by name: a field, or one for the colour and another for the shape.
function coloursOf(settings) {
  const labelOf = (name) => settings.choices.find((choice) => choice.name === name).label;
  const pair = settings.pair ? [["pair", `${labelOf(settings.pair.colour)} (colour) and ${labelOf(settings.pair.shape)} (shape)`]] : [];
  return [...pair, ...settings.choices.filter((choice) => choice.colours).map((choice) => [choice.name, choice.label])];
}

// Entries of the legend, each with its field.
function legendOf(settings, state) {
  const entriesOf = (name, change = {}) => {
    const choice = settings.choices.find((other) => other.name === name);
    return choice.values.filter((entry) => !entry.layer || (state.behind && !change.own)).map((entry) => [choice, { ...entry, ...change }]);
  };
  if (state.by !== "pair") return entriesOf(state.by);
  return [...entriesOf(settings.pair.colour, { own: true, mark: "\u25cf" }), ...entriesOf(settings.pair.shape, { own: true, colour: "var(--ink)" }),
    ...entriesOf(settings.choices[0].name).filter(([, entry]) => entry.layer)];
}

const ownValues = (choice) => choice.values.filter((entry) => !entry.layer).map((entry) => entry.value);

// The points of all panels of an explorer: `all` has one of each model and head, `models` all points by model.
function readPoints(key, settings) {
  const points = {};
  const models = Object.create(null);
  document.querySelectorAll(`[data-explorer="${key}"]`).forEach((chart) => {
    rowsOf(chart).points.forEach((point) => {
      point.shift = chart.dataset.title;
      const known = (models[point.run] ||= []);
      if (!known.some((other) => other.shift === point.shift)) known.push(point); // a shift may have two charts
      if (!point.behind) points[settings.choices.map((choice) => point[choice.name]).concat(point.run).join("\n")] = point;
    });
  });
  return { all: Object.values(points), models };
}

// What of an explorer stands in the address; of each field the shorter list, of what is hidden or of what is shown.
function explorerInAddress(key, settings, state, models, showAll) {
  const named = (name) => (key === "study" ? name : `${key}.${name}`);
  const single = { show: "view", by: "by", line: "line", find: "search", model: "model" };
  const allowed = {
    view: Object.keys(settings.views),
    by: coloursOf(settings).map(([name]) => name),
    line: Object.keys(settings.lines),
    model: Object.keys(models),
  };
  return {
    write: (params) => {
      const start = explorerStart(settings);
      Object.entries(single).forEach(([name, field]) => { if (state[field] !== start[field]) params.set(named(name), state[field]); });
      if (!state.behind) params.set(named("behind"), "no");
      settings.choices.forEach((choice) => {
        const hidden = state.hidden[choice.name];
        if ([...hidden].sort().join("\n") === [...start.hidden[choice.name]].sort().join("\n")) return;
        const shown = ownValues(choice).filter((value) => !hidden.includes(value));
        const isShort = shown.length && shown.length < hidden.length;
        (isShort ? shown : hidden.length ? hidden : [""]).forEach((value) => params.append(named(`${isShort ? "only" : "hide"}.${choice.name}`), value));
      });
    },
    read: (params) => {
      Object.assign(state, explorerStart(settings));
      Object.entries(single).forEach(([name, field]) => {
        const value = params.get(named(name));
        if (value !== null && (!allowed[field] || allowed[field].includes(value))) state[field] = value;
      });
      state.behind = params.get(named("behind")) !== "no";
      settings.choices.forEach((choice) => {
        const values = ownValues(choice);
        const [hide, only] = ["hide", "only"].map((word) => params.getAll(named(`${word}.${choice.name}`)));
        const known = only.filter((value) => values.includes(value));
        if (known.length) state.hidden[choice.name] = values.filter((value) => !known.includes(value));
        else if (hide.length) state.hidden[choice.name] = values.filter((value) => hide.includes(value));
      });
      showAll();
    },
  };
}
