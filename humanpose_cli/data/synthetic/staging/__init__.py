"""Stage of the synthetic people: poses, cameras, light, backgrounds, things in front, and the renderer."""
