"""Part I, data: the catalogue, the log, the small world, real folders, and the split of users."""
