"""The steps behind the commands: each loads what it needs, calls the library, and writes a run folder."""
