"""Formats of pictures that are read: the one list for class folders, tables, tars and the decoder."""

from __future__ import annotations

#: Endings of names by Pillow's name of the format, those that most data sets have first. Pillow reads more: EPS would
#: run an untrusted program in Ghostscript, and decoders that hardly anyone uses are the least tested.
PICTURE_FORMATS: dict[str, tuple[str, ...]] = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif", "jif"),
    "PNG": ("png", "apng"),
    "WEBP": ("webp",),
    "GIF": ("gif",),
    "BMP": ("bmp", "dib"),
    "TIFF": ("tif", "tiff"),
    "AVIF": ("avif", "avifs"),
    "JPEG2000": ("jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
    "PPM": ("ppm", "pgm", "pbm", "pnm"),
    "MPO": ("mpo",),
    # Not Pillow's: drawn as icons are.
    "SVG": ("svg",),
}

#: Endings of pictures, without the dot.
PICTURE_ENDINGS = tuple(ending for endings in PICTURE_FORMATS.values() for ending in endings)

#: Endings of pictures that are not read, so that they can be counted as what they are.
UNREAD_ENDINGS = ("heic", "heif", "jxl", "svgz", "eps", "psd", "dng", "raw", "cr2", "cr3", "nef", "arw", "ico",
                  "tga", "exr", "hdr")  # fmt: skip
