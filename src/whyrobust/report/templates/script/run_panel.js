// One run, closely.

function runSelect(select) {
  const made = select || element("select", {});
  made.classList.add("run-select");
  made.append(element("option", { value: "", text: "no run" }),
    ...Object.entries(page.runs).map(([run, details]) => element("option", { value: run, text: details.label })));
  made.addEventListener("change", (event) => choose(event.target.value));
  return made;
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
