// The table of runs.

let table = null;
const runsTable = document.getElementById("runs-table");
if (runsTable) {
  table = new window.DataTable(runsTable, {
    order: [], autoWidth: false, pageLength: 25, lengthMenu: [10, 25, 100, { label: "all", value: -1 }],
    language: { search: "Show only rows with", lengthMenu: "Rows: _MENU_", entries: { _: "rows", 1: "row" } },
  });
  runsTable.addEventListener("click", (event) => {
    const button = event.target.closest("button.show");
    if (!button) return;
    choose(button.dataset.run);
    document.getElementById("chosen-title").focus();
  });
  let rowsShown = 25; // on paper all rows are there
  window.addEventListener("beforeprint", () => { rowsShown = table.page.len(); table.page.len(-1).draw(); });
  window.addEventListener("afterprint", () => table.page.len(rowsShown).draw());
}
