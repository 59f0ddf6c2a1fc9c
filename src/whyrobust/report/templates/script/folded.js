// The pairs of a comparison, and tables that become elements when they are opened.

document.querySelectorAll("button[data-pairs]").forEach((button) => button.addEventListener("click", () => {
  const row = button.closest("tr");
  const open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!open));
  if (open) { row.nextElementSibling.remove(); return; }
  const { head, rows } = page.pairs;
  const table = simpleTable(`Pairs: ${row.cells[0].textContent}`, head, rows[button.dataset.pairs], 2);
  row.after(element("tr", { class: "pairs-row" }, element("td", { colspan: row.cells.length }, table)));
}));

// Long tables that are folded away become elements when they are opened.
function fill(place) {
  if (place.dataset.folded === undefined) return;
  place.insertAdjacentHTML("beforeend", page.folded[place.dataset.folded]);
  delete place.dataset.folded;
}

document.querySelectorAll("details[data-folded]").forEach((details) => details.addEventListener("toggle", () => fill(details)));
