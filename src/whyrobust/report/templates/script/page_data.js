// What the page brings along: its data, and the charts' specs with their rows.

// Objects without a prototype: a run may be asked for by any name in an address, "constructor" among them.
const plain = (key, value) => value && typeof value === "object" && !Array.isArray(value) ? Object.assign(Object.create(null), value) : value;

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
const [forTables, data] = await Promise.all([unpacked("table-scripts"), unpacked("page-data")]);
document.head.append(element("script", { text: forTables }));
const page = JSON.parse(data, plain);

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
