// On paper: all charts are there, drawn at the width of the paper, and what is folded is open. Long tables and what is in
// files beside the page are left out; a line names the file.

// A chart is lower on paper, where its template says how high.
function fitPaper({ view, height, heightOnPaper }) {
  if (heightOnPaper) view.height(document.documentElement.classList.contains("paper") ? heightOnPaper : height);
}

window.addEventListener("beforeprint", () => {
  document.documentElement.classList.add("paper");
  document.querySelectorAll("details:not([open], .off-paper)").forEach((details) => {
    fill(details);
    details.open = true;
    details.dataset.opened = "print";
  });
  views.forEach(fitPaper);
  window.dispatchEvent(new Event("resize")); // charts that are there take the width of the paper
  places.forEach(draw); // nothing in it waits for a timer, so the browser prints after it
});
window.addEventListener("afterprint", () => {
  document.documentElement.classList.remove("paper");
  document.querySelectorAll("details[data-opened]").forEach((details) => {
    details.open = false;
    delete details.dataset.opened;
  });
  views.forEach(fitPaper);
  window.dispatchEvent(new Event("resize"));
});
