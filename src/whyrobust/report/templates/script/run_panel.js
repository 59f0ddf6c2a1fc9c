// The panel beside the page: one run's numbers, pictures and confusions; with a second run, `compare_runs` fills it.

const panel = document.getElementById("panel");
const testSets = () => Object.keys(page.test_sets);
let chosen = ""; // the run that is shown, "" for none
let second = ""; // the run that it is compared with
let testSet = ""; // the test set whose pictures and classes are shown
let isPinned = false; // whether the next run that is chosen is the second
let opener = null; // what had the focus when the panel was opened

function runSelect(none, onchange, attributes) {
  const options = Object.entries(page.runs || {}).map(([run, details]) => element("option", { value: run, text: details.label }));
  return element("select", { ...attributes, onchange: (event) => onchange(event.target.value) }, element("option", { value: "", text: none }), ...options);
}

const nameOf = (run) => page.runs[run].label;

// ------------------------------------------------------------ what is chosen

// A run was pointed at: it is shown, let go of, or compared with the one that is pinned.
function pointAt(run) {
  if (isPinned && run !== chosen) showRuns(chosen, run === second ? "" : run);
  else showRuns(run === chosen ? "" : run, "");
}

function showRuns(run, other, step = true) {
  const opens = run && !chosen;
  if (opens) opener = document.activeElement;
  [chosen, second] = [run, run ? other : ""];
  isPinned = Boolean(second) || (isPinned && Boolean(run));
  Object.values(states).forEach((state) => { state.model = ""; });
  steerAll();
  document.querySelectorAll(".run-select").forEach((select) => { select.value = chosen; });
  markRows();
  fillPanel();
  if (step) keepStep();
}

function closePanel() {
  const inside = panel.contains(document.activeElement);
  showRuns("", "");
  if (inside && opener && opener.isConnected) opener.focus({ preventScroll: true });
}

// ------------------------------------------------------------ what the panel shows

// Open or close the panel; what is in sight stays where it is, and the charts follow the width of the page.
function makeRoom() {
  const main = document.querySelector("main");
  const seen = document.elementsFromPoint(main.getBoundingClientRect().left + 60, innerHeight / 2).find((one) => main.contains(one) && one !== main);
  const [width, top] = [main.clientWidth, seen ? seen.getBoundingClientRect().top : 0];
  panel.hidden = !chosen;
  document.body.classList.toggle("with-panel", Boolean(chosen));
  if (main.clientWidth === width) return;
  window.dispatchEvent(new Event("resize"));
  if (seen) window.scrollBy({ top: seen.getBoundingClientRect().top - top, behavior: "instant" });
}

function fillPanel() {
  if (!panel) return;
  if (panel.hidden === Boolean(chosen)) makeRoom();
  const body = document.getElementById("chosen");
  if (!chosen) { body.replaceChildren(); return; }
  const names = document.getElementById("panel-runs");
  if (!names.childElementCount) {
    const pin = element("button", { type: "button", id: "pin-run", onclick: () => { isPinned = !isPinned; showRuns(chosen, isPinned ? second : ""); } });
    names.append(element("label", {}, "Run ", runSelect("no run", (run) => (run ? showRuns(run, second === run ? "" : second) : closePanel()), { id: "chosen-run" })),
      element("label", {}, "Compared with ", runSelect("no other run", (run) => showRuns(chosen, run === chosen ? "" : run), { id: "second-run" })), pin);
  }
  document.getElementById("chosen-run").value = chosen;
  document.getElementById("second-run").value = second;
  const pin = document.getElementById("pin-run");
  pin.setAttribute("aria-pressed", String(isPinned));
  pin.textContent = second ? "End the comparison" : isPinned ? "Pinned: choose the run to compare with" : "Pin, to compare with the next run chosen";
  body.replaceChildren(...(second ? comparedNumbers(chosen, second) : numbersOf(chosen)), ...byTestSet());
}

function numbersOf(run) {
  const results = page.runs[run].results;
  const within = (low, high, write) => isNumber(low) && isNumber(high) ? element("small", { text: `${write(low)} to ${write(high)}` }) : "";
  const share = (value) => decimal(100 * value);
  const rows = Object.entries(results).map(([name, [accuracy, low, high, predicted, beyond, beyondLow, beyondHigh]]) => [
    page.test_sets[name],
    element("span", {}, percent(accuracy), within(low, high, share)),
    predicted === null && beyond === null && isInside(name) ? "" : percent(predicted),
    predicted === null && beyond === null && isInside(name) ? "" : element("span", {}, points(beyond), within(beyondLow, beyondHigh, points)),
  ]);
  return [element("p", {}, element("b", { text: nameOf(run) })),
    simpleTable("Results of the run", ["Test set", "Accuracy", "Predicted", "Effective robustness, points"], rows, 1)];
}

const isInside = (name) => page.in_distribution.includes(name);

// Pictures and classes of one test set, which the reader picks.
function byTestSet() {
  const run = chosen;
  const sets = testSets().filter((name) => (page.answers[run] || {})[name] || (page.confusions[run] || {})[name]);
  if (!sets.length) return [element("p", { class: "missing", text: "Confusions and answers to sample images were not recorded." })];
  const shown = sets.includes(testSet) ? testSet : firstTestSet(sets);
  const select = element("select", { id: "chosen-test-set", onchange: (event) => {
    testSet = event.target.value;
    fillPanel();
    document.getElementById("chosen-test-set").focus({ preventScroll: true });
    keepStep();
  } }, ...sets.map((name) => element("option", { value: name, text: page.test_sets[name] })));
  select.value = shown;
  const parts = second ? [...comparedPictures(run, second, shown), ...comparedClasses(run, second, shown)] : [
    element("h3", { text: `Right and wrong on a sample of ${page.test_sets[shown]}` }), answersOf(run, shown),
    element("h3", { text: `Classes it confuses most on ${page.test_sets[shown]}` }), confusionsOf(run, shown)];
  return [element("p", {}, element("label", {}, "Test set ", select)), ...parts];
}

const firstTestSet = (sets) => sets.find((name) => !isInside(name)) || sets[0];

// The pictures of a test set with what a run answered: { right, tile }; null where that was not recorded.
function tilesOf(run, name, answersOfRun = (page.answers[run] || {})[name]) {
  const sample = document.querySelector(`[data-tiles="${CSS.escape(name)}"]`);
  if (!answersOfRun || !sample) return null;
  return answersOfRun.map((answer, number) => {
    const original = sample.children[number];
    if (!answer || !original) return null;
    const [given, right] = answer;
    const image = original.querySelector("img").cloneNode();
    const label = original.querySelector("figcaption").textContent;
    const words = element("figcaption", {}, element("b", { text: right ? "✓ " : "✗ " }), right ? label : `${page.names[given]}, not ${label}`);
    return { right: Boolean(right), tile: element("figure", { class: right ? "right" : "wrong", title: original.title }, image, words) };
  });
}

function answersOf(run, name) {
  const tiles = (tilesOf(run, name) || []).filter(Boolean);
  if (!tiles.length) return element("p", { class: "missing", text: "Answers to sample images were not recorded." });
  tiles.sort((a, b) => b.right - a.right);
  return element("div", {}, element("p", { class: "muted", text: `${tiles.filter((tile) => tile.right).length} of these ${tiles.length} are right.` }),
    element("div", { class: "tiles" }, ...tiles.map((tile) => tile.tile)));
}

function confusionsOf(run, name) {
  const rows = (page.confusions[run] || {})[name];
  if (!rows) return element("p", { class: "missing", text: "Confusions were not recorded." });
  if (!rows.length) return element("p", { text: "It confuses no classes." });
  const table = simpleTable("Confusions", ["Class", "Taken for", "Images", "Share of the class"],
    rows.map(([label, answer, images, whole]) => [page.names[label], page.names[answer], `${images} of ${whole}`, `${(100 * images / whole).toFixed(0)} %`]), 2);
  table.querySelectorAll("tbody tr").forEach((row, number) => {
    const [, , images, whole] = rows[number];
    row.lastChild.prepend(element("span", { class: "bar", "aria-hidden": "true", style: `width:${(60 * images / whole).toFixed(1)}px` }));
  });
  return table;
}

// ------------------------------------------------------------ start

function startPanel() {
  if (!panel) return;
  document.getElementById("close-panel").addEventListener("click", closePanel);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && chosen && !document.querySelector("dialog[open]")) closePanel(); });
  inAddress.push({
    write: (params) => {
      if (chosen) params.set("run", chosen);
      if (second) params.set("with", second);
      if (testSet) params.set("test", testSet);
    },
    read: (params) => {
      const known = (name, among) => (params.get(name) in among ? params.get(name) : "");
      testSet = known("test", page.test_sets);
      const run = known("run", page.runs);
      const other = known("with", page.runs);
      showRuns(run, other === run ? "" : other, false);
    },
  });
}
