"""Families of encoders: one module each."""
