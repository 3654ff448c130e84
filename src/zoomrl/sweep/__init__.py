"""Many runs of one experiment: planned, predicted, shared out among workers, and told of. Loads no torch."""
