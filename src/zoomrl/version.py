"""The version of this package."""

__version__ = "0.1.0"
"""The version of zoomrl that is installed."""
