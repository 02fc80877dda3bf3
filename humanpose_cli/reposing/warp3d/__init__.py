"""Reposing by warping 3-D features (Knoche, Sárándi, Leibe 2020): the networks, their volume, and using them."""
