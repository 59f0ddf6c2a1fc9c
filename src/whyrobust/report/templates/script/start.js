// The start: everything above is there now.

linkHeadings();
startTable();
startPanel();
tableTools();
document.querySelectorAll("[data-controls]").forEach(controls);
chartTools();
startRegion();
startClasses();
startPictures();
startAddress();
drawAsTheyComeNear();
