"""Optics and sensor: defocus, motion, noise, sharpening."""
