"""Scanners, copiers, fax machines, screens and codecs."""
