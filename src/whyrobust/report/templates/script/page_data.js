// What the page brings along: its data, and the charts' specs with their rows.

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
