"""Recipes that come with embprobe, one TOML file each."""
