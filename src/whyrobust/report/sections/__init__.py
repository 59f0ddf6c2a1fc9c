"""The sections of the page, one module per template of the same name: each returns the values that its template shows.

`compared`, `answer`, `robustness`, `runs`, `classes`, `data`, `published`, `made`, `papers`, in the order of the page.
`explorers` has the panels of explorers; the one of `published` is also on the page of `make published`;
`run_details` is what the panel of a run shows. `architectures` is a part of `answer`;
`distribution` and `similarity` are parts of `robustness`.
"""
