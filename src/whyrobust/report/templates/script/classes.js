// The table of classes: accuracy by source in each class of a test set.

// The pictures of a class in the samples, those of one data set first.
function picturesOf(className, firstOf) {
  const samples = [...document.querySelectorAll("[data-tiles]")].sort((a, b) => (b.dataset.tiles === firstOf) - (a.dataset.tiles === firstOf));
  return samples.flatMap((sample) => [...sample.children].flatMap((tile, place) =>
    tile.querySelector("figcaption").textContent === className ? [{ dataset: sample.dataset.tiles, place, image: tile.querySelector("img") }] : []));
}

const MOST_PICTURES = 4;

function pictureButtons(className, testSetName) {
  const found = picturesOf(className, testSetName).slice(0, MOST_PICTURES);
  return found.map(({ dataset, place, image }) => {
    const small = element("img", { src: image.src, alt: "" });
    const words = `${className}, a picture of ${titleOf(dataset)}`;
    return element("button", { type: "button", class: "picture", "data-picture": dataset, "data-place": place, title: words, "aria-label": `Enlarge: ${words}` }, small);
  });
}

// Rows of the table: class, images, accuracy of either source, difference in points, pairs above and below.
function classRows(packed) {
  return unpack(packed).map((row) => {
    const [from, to] = [row.from, row.to].map((right) => right / (row.images * row.pairs));
    return [row.class, row.images, from, to, 100 * (row.to - row.from) / (row.images * row.pairs), row.above, row.below];
  });
}

function classCell(column, testSetName, [name, images, from, to, difference, above, below]) {
  const share = (value) => `${(100 * value).toFixed(1)} %`;
  const signed = `${difference > 0 ? "+" : ""}${difference.toFixed(1)}`.replace("-", "\u2212");
  if (column === 6) return element("span", { class: "pictures" }, ...pictureButtons(name, testSetName));
  return document.createTextNode([name, signed, share(from), share(to), images.toLocaleString("en"), `${above} : ${below}`][column]);
}

function fillClasses(place, comparison, testSet) {
  const headings = ["Class", "Difference, points", `Accuracy, ${comparison.from}`, `Accuracy, ${comparison.to}`, "Images", "Pairs above : below", "Pictures"];
  const sorted = ([name, images, from, to, difference, above, below]) => [name, difference, from, to, images, above - below, 0];
  const columns = headings.map((title, column) => ({
    title, data: null, className: column > 0 && column < 6 ? "n" : "", orderable: column < 6, orderSequence: column ? ["desc", "asc"] : ["asc", "desc"], searchable: column === 0, cellType: column ? "td" : "th",
    render: (data, type, row) => (type === "display" ? classCell(column, testSet.name, row) : sorted(row)[column]),
  }));
  return new window.DataTable(place, {
    data: classRows(testSet.rows), columns, order: [[1, "desc"]], autoWidth: false, deferRender: true, pageLength: 10, lengthMenu: [10, 25, 100, { label: "all", value: -1 }],
    language: { search: "Show only classes with", lengthMenu: "Rows: _MENU_", entries: { _: "classes", 1: "class" } },
  });
}

function startClasses() {
  const place = document.getElementById("classes-table");
  if (!place) return;
  const options = (entries) => entries.map((text, value) => element("option", { value, text }));
  const which = element("select", { onchange: () => show() }, ...options(page.source_classes.map((one) => `${one.comparison}, ${one.evidence}`)));
  const where = element("select", { onchange: () => show() }, ...options(page.source_classes[0].test_sets.map((one) => one.title)));
  let shown = null;
  const show = () => {
    if (shown) { shown.destroy(); place.replaceChildren(); }
    const comparison = page.source_classes[which.value];
    shown = fillClasses(place, comparison, comparison.test_sets[where.value]);
  };
  document.getElementById("classes-controls").append(element("label", {}, "Sources", which), element("label", {}, "Test set", where));
  show();
}
