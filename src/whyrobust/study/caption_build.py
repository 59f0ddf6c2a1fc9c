"""The config key ``imagenet_captions``: how ImageNet-Captions is built from ImageNet's list of addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from whyrobust.study.setting_types import Allowed, Count, InputPath, LeftOut, Settings, Text

#: The list that is built, which all studies share: the `annotations` of a source of kind imagenet_captions may name it.
BUILT_CAPTIONS = "results/imagenet_captions/imagenet_captions.json"

#: Where Flickr gives keys for its API.
KEY_PAGE = "https://www.flickr.com/services/apps/create/"

#: Files of the settings, which are on this machine or can be downloaded.
FILE_KEYS = ("addresses", "images", "metadata", "excluded_words", "published")


@dataclass(frozen=True, kw_only=True)
class FlickrSettings(Settings):
    """How Flickr's API is asked."""

    address: Text = "https://www.flickr.com/services/rest/"
    """Address of the API; of https, or of this machine."""
    key_variable: Annotated[str, Allowed(pattern="^[A-Z][A-Z0-9_]*$")] = "FLICKR_API_KEY"
    """Environment variable with the user's key, which stands in no file."""
    requests_per_hour: Count = 3600
    """Most requests an hour, repeated ones included: Flickr allows 3,600 per key."""
    attempts: Count = 5
    """How often a photograph is asked for while the failure may pass."""

    def __post_init__(self) -> None:
        """Check that the key is not sent through a network unencrypted."""
        if not re.match(r"https://[^/]|http://(127\.0\.0\.1|localhost)[:/]", self.address):
            raise ValueError(f".address is '{self.address}': allowed is https://..., which keeps the key secret")


@dataclass(frozen=True, kw_only=True)
class CaptionBuild(Settings):
    """ImageNet-Captions built from ImageNet's list of addresses."""

    addresses: InputPath
    """ImageNet's list of addresses of fall 2011: imagenet_fall11_urls.tgz, or the text in it (.txt, .txt.gz)."""
    images: InputPath
    """ImageNet's training images, for their names: the tar as published, a folder, or a text with a name per line."""
    published: InputPath
    """The authors' imagenet_captions.zip; it is read if the comparison with it is asked for."""
    metadata: LeftOut[InputPath] = None
    """yfcc100m_dataset.bz2: texts are looked up there first."""
    flickr: LeftOut[FlickrSettings] = None
    """Flickr's API is asked for texts that were not found; {} for its defaults."""
    excluded_words: LeftOut[InputPath] = None
    """Text with a word or phrase per line: an image whose text has one of them is left out."""

    def __post_init__(self) -> None:
        """Check that there is a source of texts."""
        if self.metadata is None and self.flickr is None:
            raise ValueError(" needs one of flickr (its API is asked) and metadata (texts are looked up), or both")

    @property
    def files(self) -> dict[str, str]:
        """The files that the settings name, by key."""
        named = {key: getattr(self, key) for key in FILE_KEYS}
        return {key: path for key, path in named.items() if path is not None}


def missing_key(build: CaptionBuild | None, environment: Mapping[str, str]) -> str:
    """Return in one line that the key for Flickr's API is missing and how to get one; nothing where it is there."""
    if build is None or build.flickr is None or environment.get(build.flickr.key_variable, "").strip():
        return ""
    return (
        f"the environment variable {build.flickr.key_variable} must have your key for Flickr's API, which you get at "
        f"{KEY_PAGE}; never put it into a file (docs/imagenet-captions.md)"
    )
