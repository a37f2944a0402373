"""Photographs of paper ECGs back into records."""
