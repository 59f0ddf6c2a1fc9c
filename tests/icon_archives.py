"""Icon sets and archives in the layout of the Iconify collection, and three classes to label them with."""

import io
import json
import tarfile

import pandas as pd

from whyrobust.data.label_matcher import LabelMatcher

CLASSES = pd.DataFrame(
    [("cat", "kitten", ""), ("dog", "", "hot dog"), ("bell", "", "")],
    columns=["class", "synonyms", "excluded_phrases"],
)
MATCHER = LabelMatcher(CLASSES)
SQUARE = '<path fill="currentColor" d="M1 1h2v2H1z"/>'


def make_set(prefix, icons, category="UI 24px", licence="MIT", **more):
    return {
        "prefix": prefix,
        "info": {
            "name": prefix.title(),
            "author": {"name": f"{prefix} team"},
            "license": {"spdx": licence},
            "category": category,
            "total": len(icons),
        },
        "icons": {name: icon if isinstance(icon, dict) else {"body": icon} for name, icon in icons.items()},
        "width": 24,
        "height": 24,
    } | more


def make_archive(path, icon_sets, extra=()):
    collections = {icon_set["prefix"]: icon_set["info"] for icon_set in icon_sets}
    members = [("package/collections.json", json.dumps(collections))]
    members += [(f"package/json/{s['prefix']}.json", json.dumps(s)) for s in icon_sets]
    members += list(extra)
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members:
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path
