"""Measures: pure functions of vectors and labels that return one score per image, never an average."""
