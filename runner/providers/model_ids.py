"""Which known model a misspelt id was meant to be.

A name with other digits, or with a word of its own, may be a model of next year. One that differs in its
letters or its marks alone is a slip.
"""

from __future__ import annotations

import functools
import re
from difflib import SequenceMatcher

from runner.providers.models import Catalogue, has_date, plain_name
from runner.spelling import nearest

_SEPARATORS = re.compile(r"[-_. ]+")
_ODD_DATE = re.compile(r"-\d{4,}\w*$")
_LOOK_ALIKES = str.maketrans("oil", "011")
"""Letters that look like digits."""
_ALIKE = 0.65
"""The least that two words are alike: `por` and `pro` are by 0.67, `mini` and `lite` by 0.5."""


@functools.lru_cache(maxsize=1024)
def id_that_was_meant(catalogue: Catalogue, model: str) -> str:
    """The known id that is spelled almost like `model`; empty where that is known, or like none."""
    if catalogue.whole_ids:
        same = [each for each in catalogue.by_whole_id if _digits(each) == _digits(model)]
        return "" if model in same else nearest(model, same)
    vendor, slash, name = model.rpartition("/")
    if plain_name(name) not in catalogue.names or (catalogue.exact_ids and not has_date(name)):
        # the catalogue finds `Seedance-2.0`, too: its family is known, and the service knows no such id
        family = catalogue.find(name) or catalogue.families.get(_nearest_family(catalogue, name))
        name = family.ids[0] if family is not None else name
    right = f"{_vendor(catalogue, vendor)}{slash}{name}"
    return right if right != model else ""


def _digits(name: str) -> list[str]:
    return re.findall("[0-9]+", name)


def has_unknown_vendor(catalogue: Catalogue, model: str) -> bool:
    """Whether the id begins with a vendor's name under which the service is not known to sell models."""
    vendor, slash, _ = model.rpartition("/")
    return bool(slash) and catalogue.vendors is not None and vendor not in catalogue.vendors


def _vendor(catalogue: Catalogue, vendor: str) -> str:
    return nearest(vendor.casefold(), catalogue.vendors or ()) or vendor


def _nearest_family(catalogue: Catalogue, name: str) -> str:
    """The name of the family; empty where none is near."""
    own = plain_name(_ODD_DATE.sub("", name.casefold()))
    for is_near in (_has_the_same_letters, _has_the_same_words, _has_words_alike, _begins):
        for known, family in catalogue.names.items():
            if is_near(own, known):
                return family
    return ""


def _has_the_same_letters(own: str, known: str) -> bool:
    one, other = (_SEPARATORS.sub("", each).translate(_LOOK_ALIKES) for each in (own, known))
    return one == other


def _has_the_same_words(own: str, known: str) -> bool:
    return sorted(_SEPARATORS.split(own)) == sorted(_SEPARATORS.split(known))


def _has_words_alike(own: str, known: str) -> bool:
    words, others = _SEPARATORS.split(own), _SEPARATORS.split(known)
    return len(words) == len(others) and all(map(_is_alike, words, others))


def _is_alike(word: str, other: str) -> bool:
    if re.search("[0-9]", word + other):
        is_swapped = not word.isdigit() and sorted(word) == sorted(other)
        return is_swapped or word.translate(_LOOK_ALIKES) == other.translate(_LOOK_ALIKES)
    return SequenceMatcher(None, word[:64], other).ratio() >= _ALIKE


def _begins(own: str, known: str) -> bool:
    return known.startswith(f"{own}-")
