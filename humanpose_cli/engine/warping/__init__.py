"""Moving features of body parts through a volume: the part warp of warp3d, its capsule masks."""
