// An explorer's controls: colours, filters, and a legend that leaves kinds out.

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
