"""Benchmarks: data sets x encoders x tasks, each a cell with a score per test image, and the table of all of them."""
