"""Safe reading of files: kinds, documents, archives, pickles, limits, paths and digests."""
