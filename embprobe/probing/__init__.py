"""Probing: a card x encoders -> results with intervals."""
