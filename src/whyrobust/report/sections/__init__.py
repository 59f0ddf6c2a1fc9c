"""The sections of the page, one module per template of the same name: each returns the values that its template shows.

`answer`, `robustness`, `runs`, `data`, `published`, `made`, `papers`, in the order of the page; `explorers` holds what
`robustness` and `published` share.
"""
