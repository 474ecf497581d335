"""Data set cards and the bundled images; resources only, no code."""
