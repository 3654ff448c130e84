"""What can be wrong with a run, by kinds: each function looks for one cause, and says nothing without its evidence."""
