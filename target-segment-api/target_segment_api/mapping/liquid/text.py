"""Liquid's filters of text. Pure."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any, Final
from urllib.parse import quote

from target_segment_api.mapping.liquid.coercion import check_size, to_whole, write

_SPACES = re.compile(r"\s+")
_ESCAPED = re.compile(r"&(amp|lt|gt|#34|#39);")
_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"}
)
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_NOT_CJK = re.compile(r"[^\s\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_COMPONENT: Final = "-_.!~*'()"  # what encodeURIComponent leaves
_URI: Final = "-_.!~*'();/?:@&=+$,#[]"  # what encodeURI leaves, and brackets
_SLUG_KEEPS: Final = {"pretty": "._~!$&'()+,;=@", "default": "", "latin": ""}


def replace(text: str, old: str = "", new: str = "") -> str:
    """Return *text* with each *old* replaced; an empty one stands between two characters."""
    if not old:
        check_size(len(text) * (1 + len(new)))
        return new.join(text)
    check_size(len(text) + text.count(old) * (len(new) - len(old)))
    return text.replace(old, new)


def replace_last(text: str, old: str, new: str = "") -> str:
    """Return *text* with its last *old* replaced, or without it."""
    before, found, after = text.rpartition(old) if old else (text, "", "")
    return f"{before}{new}{after}" if found or not old else text


def split(text: str, separator: str = "") -> list[str]:
    """Return the parts of *text*, without empty ones at the end."""
    parts = text.split(separator) if separator else list(text)
    while parts and not parts[-1]:
        parts.pop()
    return parts


def strip_html(text: str) -> str:
    """Return *text* without tags, comments, scripts and styles: each from `<` to its end."""
    kept, at = [], 0
    ends = {"<script": "</script>", "<style": "</style>", "<!--": "-->", "<": ">"}
    while (start := text.find("<", at)) >= 0:
        for opening, closing in list(ends.items()):
            if not text.startswith(opening, start):
                continue
            end = text.find(closing, start + len(opening))
            if end >= 0:
                kept.append(text[at:start])
                at = end + len(closing)
                break
            del ends[opening]  # it does not come any more: do not look for it again
        else:
            break
    return "".join(kept) + text[at:]


def truncate(value: Any, size: Any = None, end: Any = "...") -> str:
    """Return *value* as text of *size* characters, with *end* as its last ones if it is cut."""
    text, most, tail = write(value), to_whole(size, 50), write(end)
    return text if len(text) <= most else text[: max(0, most - len(tail))] + tail


def truncate_words(value: Any, count: Any = None, end: Any = "...") -> str:
    """Return the first *count* words of *value*, with *end* after them if there are as many."""
    words, most = _SPACES.split(write(value)), max(1, to_whole(count, 15))
    return " ".join(words[:most]) + (write(end) if len(words) >= most else "")


def number_of_words(text: str, mode: str = "") -> int:
    """Count the words of *text*, and if *mode* says so each Chinese or Japanese character."""
    text = text.strip()
    if mode == "cjk" or (mode == "auto" and _CJK.search(text)):
        return len(_CJK.findall(text)) + len(_NOT_CJK.findall(text))
    return len(text.split())


def slugify(value: Any, mode: Any = "default", cased: Any = None) -> str:
    """Return *value* as it may stand in a URL, words joined by `-`."""
    text, mode = write(value), write(mode)
    if mode == "raw":
        text = _SPACES.sub("-", text)
    elif mode == "ascii":
        text = re.sub(r"[^A-Za-z0-9]+", "-", text)
    elif mode in _SLUG_KEEPS:
        if mode == "latin":
            text = "".join(
                c for c in unicodedata.normalize("NFKD", text) if c < "\u0300" or c > "\u036f"
            )
        keep = _SLUG_KEEPS[mode]
        text = "".join(c if c in keep or _is_letter(c) else " " for c in text)
        text = re.sub(r" +", "-", text)
    if mode != "none":
        text = text.removeprefix("-").removesuffix("-")
    return text if cased is True else text.lower()


def _is_letter(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LM" or category == "Nd"


def escape(text: str) -> str:
    """Return *text* as it may stand in HTML."""
    return text.translate(_ESCAPES)


def escape_once(text: str) -> str:
    """Return *text* as it may stand in HTML, where some of it is escaped already."""
    return escape(_ESCAPED.sub(lambda match: html.unescape(match[0]), text))


def encode_component(text: str) -> str:
    """Return *text* as it may stand in the query of a URL."""
    return quote(text, safe=_COMPONENT, errors="replace").replace("%20", "+")


def encode_strictly(text: str) -> str:
    """Return *text* as it may stand in the query of a URL, with all but letters encoded."""
    return quote(text, safe="-_.~", errors="replace").replace("%20", "+")


def encode_uri(text: str) -> str:
    """Return the URL *text* with what no URL may hold encoded."""
    return quote(text, safe=_URI, errors="replace")


def normalize(text: str) -> str:
    """Return *text* with one space for any space."""
    return _SPACES.sub(" ", text)
