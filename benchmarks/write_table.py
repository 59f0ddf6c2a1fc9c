"""Write the table of docs/performance.md from the JSON files of the machines.

    python -m benchmarks.write_table

Stands alone so that no figure of the page is typed by hand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whyrobust.files import write_text

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- benchmarks: begin, written by python -m benchmarks.write_table -->", "<!-- benchmarks: end -->"
GROWTH = (
    "<!-- growth: begin, written by python -m benchmarks.write_table -->",
    "<!-- growth: end -->",
)
COLUMNS = ("row", "ours", "peer", "ratio", "spread, ours and peer", "aim", "met", "limit")


def number(value: float) -> str:
    """Return a figure with three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _cells(row: dict[str, Any]) -> list[str]:
    what = f"{row['what']}, {row['unit']}"
    if "problem" in row:
        return [what, f"not measured: {row['problem']}", row["peer"], "", "", "", "", row["limit"]]
    figures, spreads = row["figures"], row["spread"]
    notes = "; ".join(
        f"{name} {number(value)}" for name, value in figures.items() if name not in ("ours", "peer", "ratio")
    )
    return [
        what,
        number(figures["ours"]) + (f" ({notes})" if notes else ""),
        f"{row['peer']}: {number(figures['peer'])}" if "peer" in figures else row["peer"],
        f"{figures['ratio']:.2f}" if "ratio" in figures else "",
        ", ".join(f"{spreads[side]:.0%}" for side in ("ours", "peer") if side in spreads),
        "; ".join(aim["aim"] for aim in row["aims"]),
        "; ".join("yes" if aim["met"] else "no" for aim in row["aims"]),
        row["limit"],
    ]


def markdown_table(rows: Sequence[dict[str, Any]], header: bool = True) -> str:
    """Return the rows of a results file as a Markdown table."""
    lines = [list(COLUMNS), ["---"] * len(COLUMNS)] if header else []
    lines += [_cells(row) for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine_section(results: dict[str, Any]) -> str:
    """Return one machine's heading and table."""
    machine = results["machine"]
    where = machine.get("accelerator") or f"{machine['processor']}, {machine['cores']} cores"
    days = sorted({row["date"] for row in results["rows"]})
    facts = f"{machine['instructions']}, torch {machine['torch']}, Python {machine['python']}, {' to '.join(days)}"
    return f"**{where}** ({facts})\n\n{markdown_table(results['rows'])}\n"


def growth_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of a file of `measure_growth` as a Markdown table."""
    lines = ["| what | measured: size, seconds, MB | by that slope |", "|---|---|---|"]
    for row in rows:
        measured = "; ".join(
            f"{count:,}: {number(took)} s, {number(memory)} MB"
            for count, took, memory in zip(row["sizes"], row["seconds"], row["peak_mb"], strict=True)
        )
        reckoned = "; ".join(
            f"{entry['count']:,}: {number(entry['seconds'] / 60)} min, {number(entry['peak_mb'] / 1000)} GB"
            for entry in row["reckoned"]
        )
        lines.append(f"| {row['what']} | {measured} | {reckoned} |")
    return "\n".join(lines)


def growth_section(results: dict[str, Any]) -> str:
    """Return one machine's heading and table of growth."""
    machine = results["machine"]
    where = f"**{machine['processor']}, {machine['cores']} cores** ({results['date']})"
    return f"{where}\n\n{growth_table(results['growth'])}\n"


def fill_page(text: str, sections: Sequence[str], begin: str = BEGIN, end: str = END) -> str:
    """Return a page with the text between two marks replaced.

    Raises:
        ValueError: a mark is missing.
    """
    if begin not in text or end not in text:
        raise ValueError(f"the page lacks the line '{begin}' or '{end}': put them where the table belongs")
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n\n" + "\n".join(sections) + "\n" + end + rest.split(end, 1)[1]


def main() -> None:
    """Fill the page from all results files."""
    files = sorted((Path(__file__).parent / "results").glob("*.json"))
    found = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    page = fill_page(PAGE.read_text(encoding="utf-8"), [machine_section(part) for part in found if "rows" in part])
    page = fill_page(page, [growth_section(part) for part in found if "growth" in part], *GROWTH)
    write_text(PAGE, page)
    print(f"{PAGE.name}: {len(files)} files of results")


if __name__ == "__main__":
    main()
