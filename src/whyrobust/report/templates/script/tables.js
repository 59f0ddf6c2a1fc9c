// Tables that sort and search: what makes them is unpacked once the page answers, or when one of them is near.

let tables = null; // the promise of all of them

const startTables = () => (tables ||= unpacked("table-scripts").then((text) => {
  document.head.append(element("script", { text }));
  startTable();
  startClasses();
  document.documentElement.dataset.tables = "there";
}));

const whenIdle = window.requestIdleCallback || setTimeout;

function startTablesAsTheyComeNear() {
  const near = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) startTables();
  }, { rootMargin: "600px 0px" });
  document.querySelectorAll("#runs-table, #classes-table").forEach((place) => near.observe(place));
}
