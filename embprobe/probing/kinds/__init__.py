"""Kinds of measure: one file each."""
