// The start: everything above is there now.

linkHeadings();
startPanel();
tableTools();
document.querySelectorAll("[data-controls]").forEach(controls);
chartTools();
startRegion();
startPictures();
startAddress();
drawAsTheyComeNear();
startTablesAsTheyComeNear();
