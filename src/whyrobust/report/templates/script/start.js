// The start: everything above is there now.

linkHeadings();
startTable();
startPanel();
document.querySelectorAll("[data-controls]").forEach(controls);
startClasses();
startPictures();
startAddress();
drawAsTheyComeNear();
