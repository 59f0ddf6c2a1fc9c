// The table of runs: it sorts, searches, and marks the runs that are shown.

let table = null;
let isRead = false; // while the address is read, nothing is written to it
const runsTable = document.getElementById("runs-table");

function markRows() {
  if (table) table.rows().nodes().each((row) => {
    row.classList.toggle("chosen", row.dataset.run === chosen && chosen !== "");
    row.classList.toggle("second", row.dataset.run === second && second !== "");
  });
}

// Only the rows of runs in the region, where there is one.
function filterRows() {
  if (!table) return;
  table.search.fixed("region", regionRuns ? (_text, _data, number) => regionRuns.includes(table.row(number).node().dataset.run) : null);
  isRead = true;
  table.draw();
  isRead = false;
}

const columnNames = () => table.columns().header().map((heading) => heading.textContent.trim()).toArray();

function startTable() {
  if (!runsTable) return;
  fill(runsTable.tBodies[0]);
  table = new window.DataTable(runsTable, {
    order: [], autoWidth: false, pageLength: 25, lengthMenu: [10, 25, 100, { label: "all", value: -1 }],
    language: { search: "Show only rows with", lengthMenu: "Rows: _MENU_", entries: { _: "rows", 1: "row" } },
  });
  runsTable.addEventListener("click", (event) => {
    const button = event.target.closest("button.show");
    if (!button) return;
    if (isPinned && button.dataset.run !== chosen) showRuns(chosen, button.dataset.run);
    else showRuns(button.dataset.run, "");
    document.getElementById("chosen-title").focus();
  });

  const sorting = () => { const [first] = table.order(); return first && first[1] ? `${columnNames()[first[0]]}.${first[1]}` : ""; };
  table.on("order", () => { if (!isRead) keepStep(); });
  table.on("search", () => { if (!isRead) keepStep(true); });
  inAddress.push({
    write: (params) => {
      if (sorting()) params.set("sort", sorting());
      if (table.search()) params.set("rows", table.search());
    },
    read: (params) => {
      const [, name, direction] = (params.get("sort") || "").match(/^(.*)\.(asc|desc)$/) || [];
      const column = columnNames().indexOf(name);
      const order = column >= 0 ? [[column, direction]] : [];
      if (params.get("sort") === sorting() && (params.get("rows") || "") === table.search()) return;
      isRead = true;
      table.order(order).search(params.get("rows") || "").draw();
      isRead = false;
    },
  });
}
