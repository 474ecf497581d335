"""Readers of images: one file an input form."""
