// Two runs side by side in the panel: differences with intervals, pictures where one is right, and classes.

const MOST_CLASSES = 12;

// The difference of two independent estimates with an interval from theirs (Newcombe 1998; Zou and Donner 2008).
function difference([a, aLow, aHigh], [b, bLow, bHigh]) {
  const value = b - a;
  const known = [aLow, aHigh, bLow, bHigh].every(isNumber);
  return { value, low: known ? value - Math.hypot(b - bLow, aHigh - a) : null, high: known ? value + Math.hypot(bHigh - b, a - aLow) : null };
}

function differenceCell(one, other, factor) {
  if (![one[0], other[0]].every(isNumber)) return "n/a";
  const { value, low, high } = difference(one, other);
  const beyond = isNumber(low) && (low > 0 || high < 0);
  return element("span", {}, element(beyond ? "b" : "span", { text: points(factor * value) }),
    isNumber(low) ? element("small", { text: `${points(factor * low)} to ${points(factor * high)}` }) : "");
}

function comparedNumbers(run, other) {
  const [ours, theirs] = [page.runs[run].results, page.runs[other].results];
  const sets = Object.keys(ours).filter((name) => name in theirs);
  const rows = (names, from, write, factor) => names.map((name) => {
    const [one, two] = [ours[name].slice(from, from + 3), theirs[name].slice(from, from + 3)];
    return [page.test_sets[name], write(one[0]), write(two[0]), differenceCell(one, two, factor)];
  });
  const shifts = sets.filter((name) => !isInside(name));
  return [
    element("dl", { class: "compared" }, element("dt", { text: "A" }), element("dd", { text: nameOf(run) }), element("dt", { text: "B" }), element("dd", { text: nameOf(other) })),
    element("h3", { text: "Accuracy" }),
    simpleTable("Accuracy of both runs", ["Test set", "A", "B", "B − A, points"], rows(sets, 0, percent, 100), 1),
    element("h3", { text: "Effective robustness, points" }),
    simpleTable("Effective robustness of both runs", ["Shift", "A", "B", "B − A"], rows(shifts, 4, points, 1), 1),
    element("p", { class: "muted", text: "An interval of a difference is made of those of the two runs as if they were independent (Newcombe 1998; Zou and Donner 2008). Both runs are measured on the same images, which usually makes the interval wider than it need be; it says nothing about other seeds. Bold: it leaves out zero." }),
  ];
}

function comparedPictures(run, other, name) {
  const title = element("h3", { text: `Pictures of ${page.test_sets[name]} that only one has right` });
  const [ours, theirs] = [tilesOf(run, name), tilesOf(other, name)];
  if (!ours || !theirs) return [title, element("p", { class: "missing", text: "Answers to sample images were not recorded." })];
  const pairs = ours.map((tile, number) => [tile, theirs[number]]).filter(([one, two]) => one && two);
  const group = (letter, tiles) => [element("h4", { text: `Only ${letter} is right: ${tiles.length} of ${pairs.length}` }), element("div", { class: "tiles" }, ...tiles)];
  return [title,
    ...group("A", pairs.filter(([one, two]) => one.right && !two.right).map(([, two]) => answeredBy("B", two.tile))),
    ...group("B", pairs.filter(([one, two]) => !one.right && two.right).map(([one]) => answeredBy("A", one.tile)))];
}

// A picture with the wrong answer of one run, whose letter stands before it.
function answeredBy(letter, tile) {
  tile.querySelector("b").textContent = `${letter} ✗ `;
  return tile;
}

function comparedClasses(run, other, name) {
  const runs = Object.keys(page.runs);
  const [one, two] = [runs.indexOf(run), runs.indexOf(other)];
  const rows = (page.classes[name] || []).map(([label, images, right]) => ({ label: page.names[label], images, a: right[one], b: right[two] }))
    .filter((row) => isNumber(row.a) && isNumber(row.b) && row.a !== row.b);
  // A class of few images differs by much more easily: differences are ordered by what they are in standard errors.
  rows.sort((x, y) => Math.abs(y.b - y.a) / Math.sqrt(y.images) - Math.abs(x.b - x.a) / Math.sqrt(x.images));
  const title = element("h3", { text: `Classes of ${page.test_sets[name]} that differ most` });
  if (!page.classes[name]) return [title, element("p", { class: "missing", text: "Accuracy by class was not recorded." })];
  if (!rows.length) return [title, element("p", { text: "Both have equally many images of each class right." })];
  const share = (right, images) => `${Math.round(100 * right / images)} %`;
  return [title, simpleTable("Classes that differ most", ["Class", "Images", "A", "B", "B − A, points"], rows.slice(0, MOST_CLASSES).map(({ label, images, a, b }) =>
    [label, images.toLocaleString("en"), share(a, images), share(b, images), points(100 * (b - a) / images)]), 1)];
}
