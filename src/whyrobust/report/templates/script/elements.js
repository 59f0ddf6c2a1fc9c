// Elements and tables.

// An element with attributes (`text` is its text, `onclick` a listener) and children, which may be texts.
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function cells(tag, values, numeric) {
  return values.map((value, place) => element(tag, { class: numeric && place >= numeric ? "n" : null, scope: tag === "th" ? "col" : null }, value));
}

function simpleTable(label, headings, rows, numeric) {
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    element("table", {}, element("thead", {}, element("tr", {}, ...cells("th", headings, numeric))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells("td", row, numeric))))));
}
