"""Probe cards; resources only, no code."""
