"""Data sources: one file each turns a folder, a hub name or a Dataset into ImageData."""
