"""Recipes: named ways from a clean page to a damaged one. A recipe may only draw from the generator it is given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .page import Page

Recipe = Callable[[Page, np.random.Generator], Page]


def clean(page: Page, rng: np.random.Generator) -> Page:
    """The page as it was drawn."""
    return page


RECIPES: dict[str, Recipe] = {"clean": clean}
