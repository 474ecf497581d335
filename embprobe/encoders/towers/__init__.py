"""Build, save and load the networks that embprobe trains itself."""
