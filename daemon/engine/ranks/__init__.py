"""One model in several processes: rank 0 speaks to the front, the others do what it does."""
