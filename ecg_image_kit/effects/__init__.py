"""What happens to a printed page until a computer sees it: handwriting, stains, folds, light, cameras, scanners.

    >>> page = apply(page, [Folds(pattern="half"), Perspective(tilt=20), Shadow()], seed=1)

See ``base`` for what an effect is, and ``recipes`` for named lists of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import PageError, UsageError
from ..page import Page
from . import (  # noqa: F401 - they enter EFFECTS
    codec,
    copier,
    damage,
    geometry,
    ink,
    laid,
    light,
    marks,
    optics,
    paper,
    printers,
    scanner,
    scene,
    screen,
    stains,
    stamps,
    things,
    wear,
)
from .base import EFFECTS, FLAT, STAGES, Effect, Grows, OneOf, Range, children, draw, effect_of
from .geometry import GeometryEffect, bend


def __getattr__(name: str) -> Any:
    """Every effect by its name: ``from ecg_image_kit.effects import Folds``."""
    if name in EFFECTS:
        return EFFECTS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_THEN: dict[str, Any] = {"then": {}}  # in a history, between the effects of one call of ``apply`` and of the next


def apply(
    page: Page,
    effects: Iterable[Effect | str | Mapping[str, Any]] | Effect | str | Mapping[str, Any],
    seed: int | np.random.Generator = 0,
    severity: float = 0.5,
) -> Page:
    """The page after all of these effects, each drawn first if it is not.

    They happen in the order of their stages (see ``base.STAGES``), however they are listed; those that move points are
    composed into one map, and the image is resampled once. ``page.history`` then lists what was drawn: ``replay`` makes
    the same page from the same clean one, bit for bit.

    Args:
        effects: effects, or what ``effect_of`` takes for them.
        seed: of everything that is left to chance.
        severity: 0 to 1, for fields at their defaults.

    Raises:
        UsageError: no such effect. PageError: effects on the flat sheet after it was bent.
    """
    if not isinstance(page, Page):
        raise UsageError(f"{type(page).__name__} instead of a Page. Page.of_image(array) and Page.load(path) make one.")
    if isinstance(effects, str | Mapping | Effect):
        effects = [effects]
    listed = [effect_of(effect) for effect in effects]
    rngs = children(np.random.default_rng(seed), [type(effect).__name__ for effect in listed])
    drawn = [draw(effect, rng, severity) for effect, rng in zip(listed, rngs, strict=True)]
    drawn.sort(key=lambda effect: STAGES.index(effect.stage))
    if page._bent and any(effect.stage in FLAT for effect in drawn):
        name = next(type(effect).__name__ for effect in drawn if effect.stage in FLAT)
        raise PageError(
            f"{name} is painted on the flat sheet, and this one is bent already. Apply all effects together."
        )
    before = (*page.history, _THEN) if page.history else ()
    history = (*before, *(effect.to_json() for effect in drawn))
    moving = [effect for effect in drawn if isinstance(effect, GeometryEffect)]
    for effect in drawn:
        if effect.stage in FLAT:
            page = effect.paint(page)
    if moving:
        page = bend(page, moving)
    for effect in drawn:
        if effect.stage not in FLAT and not isinstance(effect, GeometryEffect):
            page = effect.paint(page)
    return replace(page, history=history)


def replay(page: Page, history: Sequence[Mapping[str, Any]]) -> Page:
    """The page that ``apply`` made of a clean one, from its ``history`` (as in the truth's JSON file).

    The clean page of a saved one is ``render(record, saved.layout, Style.of(saved.style), saved.meta["dpi"])``.

    Raises:
        UsageError: something else than ``apply`` altered the page, such as ``Page.warp``.
    """
    for again, entries in itertools.groupby(history, key=lambda entry: dict(entry) == _THEN):
        if not again:
            page = apply(page, entries)
    return page


__all__ = [
    "EFFECTS",
    "STAGES",
    "Effect",
    "Grows",
    "OneOf",
    "Range",
    "apply",
    "children",
    "draw",
    "effect_of",
    "replay",
]
