"""Bodies aligned to the pixels: textures from many frames, correspondences, and the solver that follows them."""
