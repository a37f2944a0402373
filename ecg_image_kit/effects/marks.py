"""Marks: what people leave on a printed ECG: handwriting, stamps, highlighter, stickers, redaction."""
