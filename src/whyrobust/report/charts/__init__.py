"""The charts of a study, each drawn once for print and for the page.

Read `points` (what a point of the charts of effective robustness is), `baseline` (the line it is measured from), then
`robustness` (one shift as a panel: the layers, and the figures in print) and `explorer` (the same panel on the page,
where the reader picks colours and filters). `published` draws the models that others trained, and `strips` draws them
by their training data.
`causes`, `curves` and `histogram` are independent.
"""
