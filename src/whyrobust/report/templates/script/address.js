// What the reader has set stands in the address, after "#" and the name of a heading: a link shows the same page, and
// "back" undoes a step.

const inAddress = []; // { write(params): adds what differs from the start, read(params): sets what is there, else the start }
let spot = ""; // id of the heading that the address names
let isTyping = false;

function readAddress() {
  const params = new URLSearchParams(location.hash.slice(1));
  const [first] = params;
  spot = first && first[1] === "" && document.getElementById(first[0]) ? first[0] : "";
  return params;
}

function writeAddress() {
  const params = new URLSearchParams();
  inAddress.forEach((part) => part.write(params));
  const parts = [spot, params.toString()].filter(Boolean);
  return parts.length ? `#${parts.join("&")}` : location.pathname + location.search;
}

// Keep a step of the reader; what is typed letter by letter is one step.
function keepStep(typed = false) {
  const address = writeAddress();
  if (address === location.hash || (!location.hash && !address.startsWith("#"))) return;
  history[typed && isTyping ? "replaceState" : "pushState"]({ kept: true }, "", address);
  isTyping = typed;
}

function followAddress(event) {
  const params = readAddress();
  isTyping = false;
  const named = document.getElementById(spot);
  // A link to a heading was followed: what is set stays as it is.
  if (event.state === null && spot && [...params].length === 1) history.replaceState({ kept: true }, "", writeAddress());
  else inAddress.forEach((part) => part.read(params));
  if (event.state === null && named) scrollToHeading(named);
}

// Charts that are drawn on the way are not quite as high as the room kept for them, so that the scroll ends beside the
// heading: it is gone to once more, unless the reader has gone elsewhere.
function scrollToHeading(place) {
  const left = new AbortController();
  place.scrollIntoView();
  window.addEventListener("scrollend", () => { left.abort(); place.scrollIntoView({ behavior: "instant" }); }, { signal: left.signal });
  for (const name of ["wheel", "touchmove", "pointerdown", "keydown"]) window.addEventListener(name, () => left.abort(), { signal: left.signal });
}

function startAddress() {
  const params = readAddress();
  if ([...params].length) inAddress.forEach((part) => part.read(params));
  history.replaceState({ kept: true }, "");
  if (spot) startTables().then(() => scrollToHeading(document.getElementById(spot))); // they may lie above it
  window.addEventListener("popstate", followAddress);
}

// ------------------------------------------------------------ a link at every heading

function linkHeadings() {
  document.querySelectorAll("main :is(h2, h3, h4)").forEach((heading) => {
    const section = heading.closest("section[id]");
    const isTitle = section && section.getAttribute("aria-labelledby") === heading.id;
    if (!isTitle && !heading.id) heading.id = freeId(`${section ? section.id : "page"}-${heading.textContent}`);
    heading.replaceChildren(element("a", { class: "to-heading", href: `#${isTitle ? section.id : heading.id}` }, ...heading.childNodes));
  });
}

function freeId(words) {
  const id = words.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
  let [free, number] = [id, 1];
  while (document.getElementById(free)) free = `${id}-${number += 1}`;
  return free;
}
