// The start: everything above is there now.

if (document.getElementById("chosen")) {
  runSelect(document.getElementById("chosen-run"));
  document.getElementById("clear-run").addEventListener("click", () => choose(""));
}
document.querySelectorAll("[data-controls]").forEach(controls);
const asked = new URLSearchParams(location.hash.slice(1)).get("run");
if (asked && page.runs[asked]) choose(asked);
else describe("");
startClasses();
startPictures();
drawAsTheyComeNear();
