"""Generators of ECG records: neural networks that make signals or pages come here."""
