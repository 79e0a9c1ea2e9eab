"""Why generations fail, in kinds that tell a person what helps; each provider names its codes."""

from __future__ import annotations

import enum
import fnmatch
from collections.abc import Mapping
from typing import Final


class Cause(enum.StrEnum):
    """The kind of a failure."""

    PROMPT = "prompt"
    """The service refuses what the prompt, or another input, asks for."""
    RESULT = "result"
    """The service made something and withheld it."""
    REQUEST = "request"
    """The service does not take the request as it is written."""
    ACCESS = "access"
    """The model is not there, or not open to this key."""
    PASSING = "passing"
    """Trouble of the service."""
    LOST = "lost"
    """It was paid for, and the service has it no more, or a person gave it up."""
    UNKNOWN = "unknown"


def cause_of(causes: Mapping[str, Cause], code: str) -> Cause | None:
    """What a service's code means by its `causes`, whose keys may hold `*`; upper and lower case are one.

    None for a code that is not there.
    """
    lower = code.lower()
    return next((cause for each, cause in causes.items() if fnmatch.fnmatchcase(lower, each)), None)


SEEDANCE: Final[Mapping[str, Cause]] = {
    "output*sensitivecontentdetected*": Cause.RESULT,
    "*sensitivecontentdetected*": Cause.PROMPT,
    "missingparameter*": Cause.REQUEST,
    "invalidparameter*": Cause.REQUEST,
    "invalidimageurl*": Cause.REQUEST,
    "invalidendpoint*": Cause.ACCESS,
    "modelnotopen*": Cause.ACCESS,
    "internalserviceerror*": Cause.PASSING,
    "serveroverloaded*": Cause.PASSING,
    "*ratelimitexceeded*": Cause.PASSING,
}
"""The codes of the models' maker, which services that sell them may hand on."""
