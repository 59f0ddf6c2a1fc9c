// A picture of a sample, enlarged; of a test set with what all runs answer.

const titleOf = (dataset) => page.test_sets[dataset] || dataset.replaceAll("_", " ");

// The answers of all runs to a picture, the most frequent first: { answer, right, runs }.
function answersTo(testSetName, place) {
  const groups = new Map();
  for (const [run, details] of Object.entries(page.runs)) {
    const given = ((page.answers[run] || {})[testSetName] || [])[place];
    if (!given) continue;
    const [name, right] = given;
    const group = groups.get(name) || { answer: page.names[name], right: Boolean(right), runs: [] };
    group.runs.push(details.label);
    groups.set(name, group);
  }
  return [...groups.values()].sort((a, b) => b.runs.length - a.runs.length);
}

function enlarge(testSetName, place) {
  const tile = document.querySelector(`[data-tiles="${CSS.escape(testSetName)}"]`).children[place];
  const image = tile.querySelector("img").cloneNode();
  for (const name of ["role", "tabindex", "width", "height"]) image.removeAttribute(name);
  const groups = answersTo(testSetName, place);
  const all = groups.reduce((sum, group) => sum + group.runs.length, 0);
  const right = groups.filter((group) => group.right).reduce((sum, group) => sum + group.runs.length, 0);
  const dialog = element("dialog", { class: "enlarged", "aria-labelledby": "enlarged-title" },
    element("form", { method: "dialog" }, element("button", { text: "Close" })),
    element("h3", { id: "enlarged-title", text: `${tile.querySelector("figcaption").textContent}, a picture of ${titleOf(testSetName)}` }),
    image, element("p", { class: "muted", text: tile.title }),
    element("p", { text: all ? `${right} of ${all} runs are right.` : "No run was asked for an answer to this picture." }),
    ...groups.map((group) => element("details", { class: group.right ? "right" : "wrong" },
      element("summary", {}, element("b", { text: group.right ? "✓ " : "✗ " }), `${group.answer}: ${group.runs.length}`),
      element("ul", {}, ...group.runs.map((text) => element("li", { text }))))));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// Pictures are buttons; of each sample one is reached by Tab, the others by arrows.
function startPictures() {
  for (const tiles of document.querySelectorAll("[data-tiles]")) {
    const images = [...tiles.querySelectorAll("img")];
    images.forEach((image, place) => {
      image.setAttribute("role", "button");
      image.tabIndex = place ? -1 : 0;
      Object.assign(image.dataset, { picture: tiles.dataset.tiles, place });
    });
    tiles.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = step && images[images.indexOf(event.target) + step];
      if (!next) return;
      event.preventDefault();
      images.forEach((image) => { image.tabIndex = image === next ? 0 : -1; });
      next.focus();
    });
  }
  const open = (event) => {
    const picture = event.target.closest("[data-picture]");
    if (picture) enlarge(picture.dataset.picture, Number(picture.dataset.place));
    return picture;
  };
  document.addEventListener("click", open);
  document.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && event.target.matches("img[data-picture]") && open(event)) event.preventDefault();
  });
}
