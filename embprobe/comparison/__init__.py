"""Encoder against encoder on the same images: how far they agree, and the pairs on which they do not."""
