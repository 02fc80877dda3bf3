"""Bodies: the default body, SMPL files, their parts, landmarks and texture coordinates, and how they may be posed."""
