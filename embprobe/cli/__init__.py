"""The commands, each a few lines: parse, call, print. Heavy imports happen inside, so that --help is instant."""
