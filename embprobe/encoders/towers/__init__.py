"""The networks that embprobe trains itself."""
