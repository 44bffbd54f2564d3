"""Turns a folder, a hub name or a Dataset into ImageData, with one file for each kind of source."""
