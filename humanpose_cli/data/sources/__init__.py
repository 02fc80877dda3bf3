"""Real data sets in their owners' folder layouts, a file each; `registry` knows them by name."""
