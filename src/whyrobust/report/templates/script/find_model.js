// One published model, found by its name.

const found = {}; // explorer -> shows what is found, and the model that is picked
const MOST_FOUND = 12;

function finder(key, settings, state, models, row) {
  const namesWith = (search) => (search ? Object.keys(models).filter((name) => name.toLowerCase().includes(search)).sort() : []);
  // The one model that a name means: the only one that has it, or the one that is called so.
  const meant = (names) => (names.length === 1 ? names[0] : names.find((name) => name.toLowerCase() === state.search)) || "";
  const line = element("select", { "data-line": key, onchange: (event) => { state.line = event.target.value; steerAll(key); found[key](); keepStep(); } },
    ...Object.entries(settings.lines).map(([name, label]) => element("option", { value: name, text: label })));
  const box = element("input", { type: "search", oninput: (event) => {
    state.search = event.target.value.trim().toLowerCase();
    state.model = meant(namesWith(state.search));
    steerAll(key);
    found[key]();
    keepStep(true);
  } });
  row.append(element("label", {}, "Line", line), element("label", {}, "Find a model", box));
  const place = document.querySelector(`[data-found="${key}"]`);
  found[key] = () => {
    const shown = state.model;
    line.value = state.line;
    if (box.value.trim().toLowerCase() !== state.search) box.value = state.search;
    const names = namesWith(state.search);
    const parts = [];
    if (state.search) parts.push(element("p", { role: "status", text: names.length > MOST_FOUND ? `${names.length.toLocaleString("en")} models have this in their name, ringed in the panels. The first ${MOST_FOUND}:` : names.length ? `${names.length} found, ringed in the panels:` : "No model has this in its name." }));
    if (names.length) parts.push(element("p", { class: "names" }, ...names.slice(0, MOST_FOUND).map((name) => element("button", { type: "button", "aria-pressed": String(name === shown), onclick: () => pick(key, name), text: name }))));
    if (shown) {
      const first = models[shown][0];
      parts.push(element("p", {}, element("b", { text: shown }), `: ${settings.choices.map((choice) => `${choice.label}: ${first[choice.name]}`).join("; ")}.`));
      parts.push(simpleTable(`Accuracies of ${shown}`, ["Shift", "ImageNet", "On the shift", "Effective robustness, points"], models[shown].map((point) => {
        const value = point[`er_${state.line}`];
        return [point.shift, percent(rateOf(point.x)), percent(rateOf(point.y)), value === null ? "no such line" : `${points(value)}${point[`out_${state.line}`] ? " (line extrapolated)" : ""}`];
      }), 1));
    }
    place.replaceChildren(...parts);
  };
}

// The accuracy of a place on an axis of logits.
const rateOf = (logit) => 1 / (1 + Math.exp(-logit));

// A published model was pointed at, or let go of.
function pick(key, model) {
  const state = states[key];
  state.model = model === state.model ? "" : model;
  steerAll(key);
  if (found[key]) found[key]();
  keepStep();
}
