"""Touches the disk for all rooms: names become paths, regular files are read, folders are staged and exchanged."""
