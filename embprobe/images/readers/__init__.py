"""Readers of images: one file for each input form."""
