"""Figures, LaTeX tables, the report page and the provenance of a study; it measures nothing, and nothing imports it.

Read first what all of it shares: `theme` (colours, fonts, widths), `number_format` (numbers as text), `accuracy_axes`
(axes with percent labels) and `render` (charts to files and specs). `charts` holds the charts of both.

- In print: `figures` draws and saves, `latex` writes tables.
- The page: `tables` (what it is given), `findings` (what the tables say, in sentences), `headline` (the answer
  first), `page_parts`, `sections` (one
  module per template), `templating` (templates and scripts, which all pages share) and `page`.
- The page of published models: `published_findings` (what their tables say), `published_rows` (tables as text, also of
  the docs) and `published_page`.
- The page of the data before training: `data_check` (what to look at) and `data_page`.
- Two studies: `result_card` (what a study leaves for others to collect), `side_by_side` (which verdicts both have,
  where their configs differ) and `compare_page`.
- Descriptions that are stages of their own: `data_summary` (the data) and `run_summary` (single runs).
- `reported`: what a paper reports beside what is found. `provenance`: the record of how a study was made.
"""
