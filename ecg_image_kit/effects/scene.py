"""Scene: what lies around and on the sheet when the picture is taken."""
