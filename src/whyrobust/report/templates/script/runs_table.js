// The table of runs: it sorts, searches, and marks the runs that are shown.

let table = null; // once it is there
let wanted = { sort: "", rows: "" }; // what an address asked for before
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

  table.on("order", () => { if (!isRead) keepStep(); });
  table.on("search", () => { if (!isRead) keepStep(true); });
  sortAndSearch(wanted);
  filterRows();
  markRows();
}

// The table in the address: its sorting as "column.direction", and the words searched for.
function sorting() {
  const [first] = table.order();
  return first && first[1] ? `${columnNames()[first[0]]}.${first[1]}` : "";
}

function sortAndSearch({ sort, rows }) {
  if (sort === sorting() && rows === table.search()) return;
  const [, name, direction] = sort.match(/^(.*)\.(asc|desc)$/) || [];
  const column = columnNames().indexOf(name);
  isRead = true;
  table.order(column >= 0 ? [[column, direction]] : []).search(rows).draw();
  isRead = false;
}

if (runsTable) inAddress.push({
  write: (params) => {
    const { sort, rows } = table ? { sort: sorting(), rows: table.search() } : wanted;
    if (sort) params.set("sort", sort);
    if (rows) params.set("rows", rows);
  },
  read: (params) => {
    const asked = { sort: params.get("sort") || "", rows: params.get("rows") || "" };
    if (table) sortAndSearch(asked);
    else wanted = asked;
  },
});
