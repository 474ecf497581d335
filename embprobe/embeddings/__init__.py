"""Embeddings: images x encoders -> vectors on disk, in a workspace."""
