"""The machine under the rest: files, locks, devices, text for terminals, reading TOML and JSON into models."""
