(async function () {
  "use strict";
  // Objects without a prototype: a run may be asked for by any name in an address, "constructor" among them.
  const plain = (key, value) => value && typeof value === "object" && !Array.isArray(value) ? Object.assign(Object.create(null), value) : value;

  // What the page brings along is gzip in base64.
  async function unpacked(id) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  if (!window.DecompressionStream) {
    document.querySelector("header").append(element("p", { class: "missing", text: "This browser is too old to draw the charts (it lacks DecompressionStream, of 2023). They are in figures/, beside this page." }));
    return;
  }
  const [vendor, data] = await Promise.all([unpacked("vendor"), unpacked("page-data")]);
  document.head.append(element("script", { text: vendor }));
  const page = JSON.parse(data, plain);
  const views = []; // { view, explorer }
  const states = {}; // explorer -> { by, hidden, behind }
  let chosen = "";

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "text") made.textContent = value;
      else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  // ------------------------------------------------------------ charts

  function unpack(packed) {
    const columns = Object.entries(packed.columns).map(([name, values]) =>
      [name, Array.isArray(values) ? values : values.codes.map((code) => page.texts[code])]);
    return Array.from({ length: packed.rows }, (_, row) => Object.fromEntries(columns.map(([name, values]) => [name, values[row]])));
  }

  function readSpec(key) {
    const { datasets, ...spec } = page.specs[key];
    const unpackedSets = Object.entries(datasets).map(([name, packed]) => [name, unpack(packed)]);
    return { ...structuredClone(spec), datasets: Object.fromEntries(unpackedSets) };
  }

  async function draw(place) {
    if (!place.offsetParent || place.dataset.drawn) return; // a hidden chart has no width: it is drawn when it is shown
    place.dataset.drawn = "yes";
    const spec = readSpec(place.dataset.spec);
    const description = place.getAttribute("aria-label");
    spec.description = description;
    try {
      const { view } = await window.vegaEmbed(place, spec, { actions: false, renderer: "svg", tooltip: { theme: "custom" } });
      const signals = Object.keys(view.getState({ signals: (name) => name && !name.includes(":") }).signals || {});
      const entry = { view, explorer: place.dataset.explorer || "", signals };
      views.push(entry);
      if (signals.includes("chosen")) {
        view.addEventListener("click", (event, item) => {
          const run = item && item.datum && item.datum.run;
          if (run && page.runs[run]) choose(run === chosen ? "" : run);
          else if (run) pick(entry.explorer, run === chosen ? "" : run);
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
    } catch (error) {
      place.replaceChildren(element("p", { text: description })); // what it shows, in words
      console.error("chart " + place.dataset.spec + " could not be drawn", error);
    }
  }

  async function steer(entry) {
    const { view, explorer, signals } = entry;
    const state = states[explorer];
    if (signals.includes("chosen")) view.signal("chosen", chosen);
    for (const name of ["by", "hidden", "behind", "line", "search"]) if (state && signals.includes(name)) view.signal(name, state[name]);
    await view.runAsync();
  }

  const steerAll = (explorer) => Promise.all(views.filter((entry) => !explorer || entry.explorer === explorer).map(steer));

  // ------------------------------------------------------------ an explorer's controls

  function controls(place) {
    const key = place.dataset.controls;
    const settings = page.explorers[key];
    if (!settings) return;
    const initial = () => ({
      by: settings.choices[0].name,
      hidden: Object.fromEntries(settings.choices.map((choice) => [choice.name, [...(settings.hidden[choice.name] || [])]])),
      behind: true,
      line: Object.keys(settings.lines)[0] || "",
      search: "",
      view: Object.keys(settings.views)[0] || "",
    });
    const state = initial();
    states[key] = state;
    const legend = element("ul", { class: "legend", "aria-label": "Legend; press an entry to leave it out" });
    const count = element("p", { class: "muted", role: "status" });
    const filters = element("div", { class: "filters" });

    const points = {};
    const models = {};
    document.querySelectorAll(`[data-explorer="${key}"]`).forEach((chart) => {
      readSpec(chart.dataset.spec).datasets.points.forEach((point) => {
        point.shift = chart.dataset.title;
        (models[point.run] = models[point.run] || []).push(point);
        if (!point.behind) points[settings.choices.map((choice) => point[choice.name]).concat(point.run).join("\n")] = point;
      });
    });
    const all = Object.values(points);

    function toggle(field, value) {
      const hidden = state.hidden[field];
      state.hidden = { ...state.hidden, [field]: hidden.includes(value) ? hidden.filter((other) => other !== value) : [...hidden, value] };
      refresh();
    }

    function refresh() {
      const choice = settings.choices.find((other) => other.name === state.by);
      const focused = [...legend.querySelectorAll("button")].indexOf(document.activeElement);
      legend.replaceChildren(...choice.values.filter((entry) => state.behind || !entry.layer).map((entry) => {
        const mark = element("span", { class: "mark", "aria-hidden": "true", style: `color:${entry.colour}`, text: entry.mark });
        if (entry.layer) return element("li", {}, element("span", { class: "still" }, mark, entry.value));
        const pressed = !state.hidden[choice.name].includes(entry.value);
        return element("li", {}, element("button", { type: "button", "aria-pressed": String(pressed), onclick: () => toggle(choice.name, entry.value) }, mark, entry.value));
      }));
      if (focused >= 0) legend.querySelectorAll("button")[focused]?.focus();
      filters.querySelectorAll("input").forEach((box) => { box.checked = !state.hidden[box.dataset.field].includes(box.value); });
      const shown = all.filter((point) => settings.choices.every((other) => !state.hidden[other.name].includes(point[other.name])));
      count.textContent = `${shown.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} ${settings.noun} shown.`;
      steerAll(key);
    }

    settings.choices.forEach((choice) => {
      const values = choice.values.filter((entry) => !entry.layer);
      if (values.length < 2) return;
      filters.append(element("fieldset", {}, element("legend", { text: choice.label }), ...values.map((entry) =>
        element("label", {}, element("input", { type: "checkbox", "data-field": choice.name, value: entry.value, onchange: () => toggle(choice.name, entry.value) }), entry.value))));
    });
    const row = element("div", { class: "row" });
    const select = element("select", { onchange: (event) => { state.by = event.target.value; refresh(); } },
      ...settings.choices.filter((choice) => choice.colours).map((choice) => element("option", { value: choice.name, text: choice.label })));
    const view = element("select", { onchange: (event) => { state.view = event.target.value; show(); } },
      ...Object.entries(settings.views).map(([name, label]) => element("option", { value: name, text: label })));
    const show = () => {
      const grids = [...place.parentElement.querySelectorAll("[data-view]")];
      grids.forEach((grid) => { grid.hidden = grid.dataset.view !== state.view; }); // what is shown is drawn as it comes near
    };
    if (Object.keys(settings.views).length > 1) row.append(element("label", {}, "Show", view));
    row.append(element("label", {}, "Colour and shape by", select));
    const behind = element("input", { type: "checkbox", checked: true, onchange: (event) => { state.behind = event.target.checked; refresh(); } });
    if (settings.background) row.append(element("label", {}, behind, "published models behind"));
    if (key === "study") row.append(element("label", {}, "Highlight", runSelect()));
    if (Object.keys(settings.lines).length) finder(key, settings, state, models, row);
    row.append(element("button", { type: "button", text: "Reset", onclick: () => {
      Object.assign(state, initial());
      select.value = state.by;
      view.value = state.view;
      if (state.view) show();
      row.querySelectorAll("[data-line]").forEach((other) => { other.value = state.line; });
      row.querySelectorAll("[type=search]").forEach((other) => { other.value = ""; });
      pick(key, "");
      behind.checked = state.behind;
      refresh();
      choose("");
    } }));
    place.replaceChildren(row, legend);
    if (filters.childElementCount) place.append(element("details", {}, element("summary", { text: "Filter" }), filters));
    place.append(count);
    refresh();
  }

  // ------------------------------------------------------------ one published model, found by its name

  const found = {}; // explorer -> shows what is found, or one model
  const MOST_FOUND = 12;

  function finder(key, settings, state, models, row) {
    const line = element("select", { "data-line": key, onchange: (event) => { state.line = event.target.value; steerAll(key); found[key](); } },
      ...Object.entries(settings.lines).map(([name, label]) => element("option", { value: name, text: label })));
    const box = element("input", { type: "search", oninput: (event) => { state.search = event.target.value.trim().toLowerCase(); steerAll(key); found[key](); } });
    row.append(element("label", {}, "Line", line), element("label", {}, "Find a model", box));
    const place = document.querySelector(`[data-found="${key}"]`);
    found[key] = (run) => {
      const shown = run || (chosen in models ? chosen : "");
      const names = state.search ? Object.keys(models).filter((name) => name.toLowerCase().includes(state.search)).sort() : [];
      const parts = [];
      if (state.search) parts.push(element("p", { role: "status", text: names.length > MOST_FOUND ? `${names.length.toLocaleString("en")} models have this in their name, ringed in the panels. The first ${MOST_FOUND}:` : names.length ? `${names.length} found, ringed in the panels:` : "No model has this in its name." }));
      if (names.length) parts.push(element("p", { class: "names" }, ...names.slice(0, MOST_FOUND).map((name) => element("button", { type: "button", "aria-pressed": String(name === shown), onclick: () => pick(key, name === chosen ? "" : name), text: name }))));
      if (shown) {
        const first = models[shown][0];
        const percent = (logit) => `${(100 / (1 + Math.exp(-logit))).toFixed(1)} %`;
        parts.push(element("p", {}, element("b", { text: shown }), `: ${settings.choices.map((choice) => `${choice.label}: ${first[choice.name]}`).join("; ")}.`));
        parts.push(simpleTable(`Accuracies of ${shown}`, ["Shift", "ImageNet", "On the shift", "Effective robustness, points"], models[shown].map((point) => {
          const value = point[`er_${state.line}`];
          return [point.shift, percent(point.x), percent(point.y), value === null ? "no such line" : `${value > 0 ? "+" : ""}${value.toFixed(1)}${point[`out_${state.line}`] ? " (line extrapolated)" : ""}`.replace("-", "\u2212")];
        }), 1));
      }
      place.replaceChildren(...parts);
    };
  }

  function pick(key, run) {
    highlight(run);
    if (found[key]) found[key](run);
  }

  // ------------------------------------------------------------ pairs of a comparison, and tables on demand

  document.querySelectorAll("button[data-pairs]").forEach((button) => button.addEventListener("click", () => {
    const row = button.closest("tr");
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) { row.nextElementSibling.remove(); return; }
    const { head, rows } = page.pairs;
    const table = simpleTable(`Pairs: ${row.cells[0].textContent}`, head, rows[button.dataset.pairs], 2);
    row.after(element("tr", { class: "pairs-row" }, element("td", { colspan: row.cells.length }, table)));
  }));

  // Long tables that are folded away become elements when they are opened.
  function fill(details) {
    const later = details.querySelector(":scope > template");
    if (later) later.replaceWith(later.content);
  }

  document.querySelectorAll("details:has(> template)").forEach((details) => details.addEventListener("toggle", () => fill(details)));

  // ------------------------------------------------------------ one run, closely

  function runSelect(select) {
    const made = select || element("select", {});
    made.classList.add("run-select");
    made.append(element("option", { value: "", text: "no run" }),
      ...Object.entries(page.runs).map(([run, details]) => element("option", { value: run, text: details.label })));
    made.addEventListener("change", (event) => choose(event.target.value));
    return made;
  }

  function cells(tag, values, numeric) {
    return values.map((value, place) => element(tag, { class: numeric && place >= numeric ? "n" : null, scope: tag === "th" ? "col" : null, text: value }));
  }

  function simpleTable(label, headings, rows, numeric) {
    return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
      element("table", {}, element("thead", {}, element("tr", {}, ...cells("th", headings, numeric))),
        element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells("td", row, numeric))))));
  }

  function answersOf(run, testSet) {
    const given = (page.answers[run] || {})[testSet];
    const sample = document.querySelector(`[data-tiles="${CSS.escape(testSet)}"]`);
    if (!given || !sample) return null;
    const tiles = given.map((answer, place) => {
      const original = sample.children[place];
      if (!answer || !original) return null;
      const [name, right] = answer;
      const image = original.querySelector("img").cloneNode();
      const label = original.querySelector("figcaption").textContent;
      const words = element("figcaption", {}, element("b", { text: right ? "✓ " : "✗ " }), right ? label : `${page.names[name]}, not ${label}`);
      return { right, tile: element("figure", { class: right ? "right" : "wrong", title: original.title }, image, words) };
    }).filter(Boolean);
    const right = tiles.filter((tile) => tile.right).length;
    tiles.sort((a, b) => b.right - a.right);
    return element("div", {}, element("p", { class: "muted", text: `${right} of these ${tiles.length} are right.` }),
      element("div", { class: "tiles" }, ...tiles.map((tile) => tile.tile)));
  }

  function confusionsOf(run, testSet) {
    const rows = (page.confusions[run] || {})[testSet];
    if (!rows) return element("p", { class: "missing", text: "Confusions were not recorded." });
    if (!rows.length) return element("p", { text: "It confuses no classes." });
    const table = simpleTable("Confusions", ["Class", "Taken for", "Images", "Share of the class"],
      rows.map(([label, answer, images, whole]) => [page.names[label], page.names[answer], `${images} of ${whole}`, `${(100 * images / whole).toFixed(0)} %`]), 2);
    table.querySelectorAll("tbody tr").forEach((row, place) => {
      const [, , images, whole] = rows[place];
      row.lastChild.prepend(element("span", { class: "bar", "aria-hidden": "true", style: `width:${(60 * images / whole).toFixed(1)}px` }));
    });
    return table;
  }

  function describe(run) {
    const place = document.getElementById("chosen");
    if (!place) return;
    const shown = run || page.default;
    const details = page.runs[shown];
    if (!details) { place.replaceChildren(element("p", { class: "missing", text: "No run was evaluated." })); return; }
    const parts = [element("p", {}, element("b", { text: details.label }), run ? "" : " (shown as an example: the run with the highest mean effective robustness)")];
    parts.push(simpleTable("Results of the run", ["Shift", "In-distribution", "On the shift", "The line predicts", "Effective robustness, points"], details.results, 1));
    const sets = Object.keys(page.test_sets).filter((name) => (page.answers[shown] || {})[name] || (page.confusions[shown] || {})[name]);
    if (sets.length) {
      const body = element("div", {});
      const fill = (name) => body.replaceChildren(
        element("h4", { text: `Right and wrong on a sample of ${page.test_sets[name]}` }), answersOf(shown, name) || element("p", { class: "missing", text: "Answers to sample images were not recorded." }),
        element("h4", { text: `Classes it confuses most on ${page.test_sets[name]}` }), confusionsOf(shown, name));
      const select = element("select", { id: "chosen-test-set", onchange: (event) => { testSet = event.target.value; fill(testSet); } },
        ...sets.map((name) => element("option", { value: name, text: page.test_sets[name] })));
      if (!sets.includes(testSet)) testSet = sets[Math.min(1, sets.length - 1)];
      select.value = testSet;
      parts.push(element("p", {}, element("label", {}, "Test set ", select)), body);
      fill(testSet);
    }
    place.replaceChildren(...parts);
  }
  let testSet = "";

  function highlight(run) {
    chosen = run;
    steerAll();
  }

  function choose(run) {
    highlight(run);
    document.querySelectorAll(".run-select").forEach((select) => { select.value = run; });
    if (table) table.rows().nodes().each((row) => row.classList.toggle("chosen", row.dataset.run === run && run !== ""));
    describe(run);
    history.replaceState(null, "", run ? `#run=${encodeURIComponent(run)}` : location.pathname + location.search);
  }

  // ------------------------------------------------------------ the table of runs

  let table = null;
  const runsTable = document.getElementById("runs-table");
  if (runsTable) {
    table = new window.DataTable(runsTable, {
      order: [], autoWidth: false, pageLength: 25, lengthMenu: [10, 25, 100, { label: "all", value: -1 }],
      language: { search: "Show only rows with", lengthMenu: "Rows: _MENU_", entries: { _: "rows", 1: "row" } },
    });
    runsTable.addEventListener("click", (event) => {
      const button = event.target.closest("button.show");
      if (!button) return;
      choose(button.dataset.run);
      document.getElementById("chosen-title").focus();
    });
    let rowsShown = 25; // on paper all rows are there
    window.addEventListener("beforeprint", () => { rowsShown = table.page.len(); table.page.len(-1).draw(); });
    window.addEventListener("afterprint", () => table.page.len(rowsShown).draw());
  }

  // ------------------------------------------------------------ start

  if (document.getElementById("chosen")) {
    runSelect(document.getElementById("chosen-run"));
    document.getElementById("clear-run").addEventListener("click", () => choose(""));
  }
  document.querySelectorAll("[data-controls]").forEach(controls);
  const asked = new URLSearchParams(location.hash.slice(1)).get("run");
  if (asked && page.runs[asked]) choose(asked);
  else describe("");

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
  }

  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !target.dataset.drawn) waiting.add(target);
      else waiting.delete(target); // it was scrolled past
    }
    drawWaiting();
  }, { rootMargin: "600px 0px" });
  const places = [...document.querySelectorAll("[data-spec]")];
  places.forEach((place) => near.observe(place));
  if (!places.length) drawWaiting(); // there is nothing to wait for
  // On paper all charts are there, and all that is folded or comes later.
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details:not([open])").forEach((details) => {
      fill(details);
      details.open = true;
      details.dataset.opened = "print";
    });
    places.forEach(draw); // nothing in it waits for a timer, so the browser prints after it
  });
  window.addEventListener("afterprint", () => document.querySelectorAll("details[data-opened]").forEach((details) => {
    details.open = false;
    delete details.dataset.opened;
  }));
})();
