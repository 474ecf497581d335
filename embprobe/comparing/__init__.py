"""Comparing: how far encoders agree, and what explains where they do not."""
