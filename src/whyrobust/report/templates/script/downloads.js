// What is shown, as files: a chart as SVG, the points of an explorer and the rows of the table as CSV.

function saveFile(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

const fileName = (words) => words.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "chart";

function csvText(rows) {
  const cell = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return rows.map((row) => row.map((value) => cell(String(value ?? ""))).join(",")).join("\n") + "\n";
}

// A number without its separators: "2,000" is 2000.
const plainNumber = (text) => (/^\d{1,3}(,\d{3})+$/.test(text) ? text.replaceAll(",", "") : text);

// The numbers in a text such as "+2.1 points (−0.3 to +4.5)", as a CSV has them: at most `most`, missing ones empty.
function numbersIn(text, most) {
  const found = (text || "").replaceAll("\u2212", "-").match(/[+-]?\d+(\.\d+)?/g) || [];
  return Array.from({ length: most }, (_, number) => (found[number] === undefined ? "" : Number(found[number])));
}

// ------------------------------------------------------------ a chart

async function saveChart(chart) {
  const entry = views.find((one) => one.place === chart);
  if (!entry) return;
  const style = getComputedStyle(document.documentElement);
  const literal = (text) => text.replace(/var\((--[a-z-]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const ofScheme = (text) => text.replace(/light-dark\((#\w+), (#\w+)\)/g, (_, light, dark) => (isDark ? dark : light));
  const drawn = ofScheme(literal(await entry.view.toSVG())); // another program does not know the colours of the page
  const ground = `<rect width="100%" height="100%" fill="${style.getPropertyValue("--page").trim()}"/>`;
  saveFile(`${fileName(chart.dataset.spec)}.svg`, "image/svg+xml", drawn.replace(/(<svg[^>]*>)/, `$1${ground}`));
}

function chartTools() {
  places.forEach((chart) => {
    const figure = chart.closest("figure") || chart.parentElement;
    const title = chart.dataset.title || (figure.querySelector("h3, h4") || {}).textContent || chart.dataset.spec;
    const tools = element("p", { class: "tools" }, element("button", { type: "button", "aria-label": `Save the chart ${title} as SVG`, onclick: () => saveChart(chart), text: "Save as SVG" }));
    if (chart.dataset.explorer === "study") tools.append(regionTool(chart));
    chart.after(tools);
  });
}

// ------------------------------------------------------------ the points of an explorer

function pointsAsCsv(key) {
  const settings = page.explorers[key];
  const state = states[key];
  const charts = places.filter((one) => one.dataset.explorer === key && !one.closest("[data-view][hidden]"));
  const fields = settings.choices.map((choice) => choice.label);
  const valuesOf = (point) => settings.choices.map((choice) => plainNumber(point[choice.name]));
  const measured = state.line
    ? { head: ["accuracy on ImageNet, %", "accuracy on the shift, %", `effective robustness, points (${settings.lines[state.line]})`],
      of: (point) => [rateOf(point.x), rateOf(point.y)].map((rate) => decimal(100 * rate)).concat(point[`er_${state.line}`]) }
    : { head: [...["in-distribution accuracy", "accuracy on the shift"].flatMap((name) => [`${name}, %`, "low", "high"]), "predicted accuracy, %", "effective robustness, points", "low", "high", "note"],
      of: (point) => [...numbersIn(point.id_words, 3), ...numbersIn(point.shift_words, 3), ...numbersIn(point.baseline_words, 1), ...numbersIn(point.effect_words, 3), point.remark] };
  const rows = charts.flatMap((chart) => rowsOf(chart).points
    .filter((point) => !point.behind && isPointShown(settings, state, point) && (key !== "study" || !regionRuns || regionRuns.includes(point.run)))
    .map((point) => [chart.dataset.title, point.words || point.run, ...valuesOf(point), ...measured.of(point)]));
  return csvText([["shift", "model", ...fields, ...measured.head], ...rows]);
}

// ------------------------------------------------------------ the rows of the table of runs

function rowsAsCsv() {
  const headings = [...runsTable.querySelectorAll("thead th")].slice(1).map((heading) => heading.textContent.trim());
  const sets = headings.slice(1, -3);
  const head = ["run", headings[0], ...sets.flatMap((name) => [`${name}, accuracy`, `${name}, effective robustness in points`, "low", "high"]), ...headings.slice(-3)];
  const rows = table.rows({ search: "applied", order: "applied" }).nodes().toArray().map((row) => {
    const [, training, ...others] = row.cells;
    const accuracies = others.slice(0, sets.length).flatMap((cell) => [Number(cell.dataset.order) < 0 ? "" : cell.dataset.order, ...numbersIn(cell.querySelector("small")?.textContent, 3)]);
    return [row.dataset.run, [...training.childNodes].map((node) => node.textContent).join(", "), ...accuracies, ...others.slice(sets.length).map((cell) => cell.dataset.order || cell.textContent)];
  });
  return csvText([head, ...rows]);
}

function tableTools() {
  if (!runsTable) return;
  runsTable.closest(".table-place").after(element("p", { class: "tools" },
    element("button", { type: "button", text: "Save the rows shown as CSV", onclick: async () => { await startTables(); saveFile("runs.csv", "text/csv", rowsAsCsv()); } })));
}
