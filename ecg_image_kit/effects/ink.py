"""Ink: how printers and pens put the page on paper."""
