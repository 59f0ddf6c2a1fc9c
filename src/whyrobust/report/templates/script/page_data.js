// What the page brings along: its data, and the charts' specs with their rows.

// What the page brings along is gzip in base64.
async function unpacked(id) {
  const text = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place); // a tenth of the time of Uint8Array.from
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

if (!window.DecompressionStream) {
  document.querySelector("header").append(element("p", { class: "missing", text: "This browser is too old to draw the charts (it lacks DecompressionStream, of 2023). They are in figures/, beside this page." }));
  return;
}
const page = JSON.parse(await unpacked("page-data"));
// Without a prototype: an address may ask for a run or a test set by any name, "constructor" among them.
for (const name of ["runs", "test_sets"]) if (page[name]) Object.setPrototypeOf(page[name], null);

function unpack(packed) {
  const columns = Object.entries(packed.columns).map(([name, values]) =>
    [name, Array.isArray(values) ? values : values.codes.map((code) => page.texts[code])]);
  return Array.from({ length: packed.rows }, (_, row) => Object.fromEntries(columns.map(([name, values]) => [name, values[row]])));
}

function readSpec(key) {
  const { datasets, ...spec } = page.specs[key];
  const unpackedSets = Object.entries(datasets).map(([name, place]) => [name, unpack(page.rows[place])]);
  return { ...structuredClone(spec), datasets: Object.fromEntries(unpackedSets) };
}
