// Numbers as text, as on the rest of the page.

const signed = (text) => text.replace("-", "\u2212");
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

// With one decimal; a number midway between two goes to the even one, as in Python, which writes the rest of the page.
function decimal(value) {
  const tenths = Math.abs(value) * 10;
  const isMidway = tenths % 1 === 0.5;
  return isMidway && Math.floor(tenths) % 2 === 0 ? (Math.sign(value) * Math.floor(tenths) / 10).toFixed(1) : value.toFixed(1);
}

const percent = (rate) => isNumber(rate) ? `${decimal(100 * rate)} %` : "n/a";

function points(value) {
  if (!isNumber(value)) return "n/a";
  const text = decimal(value);
  return Number(text) === 0 ? "0.0" : signed(value > 0 ? `+${text}` : text);
}

const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
