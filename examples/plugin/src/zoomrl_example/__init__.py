"""A plug-in for zoomrl."""
