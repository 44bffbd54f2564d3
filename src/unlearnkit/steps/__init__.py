"""Holds the steps behind the commands: each loads its input, calls the library, and writes a run folder."""
