"""Selftest: does the instrument find what was planted?"""
