"""Points of posed bodies, robust terms and the energy of joint angles, summed into normal equations."""
