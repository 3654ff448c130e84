"""Experiments of the papers as data: registered before they run, judged by what was registered."""
