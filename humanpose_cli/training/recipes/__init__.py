"""A recipe per model: its data, losses, presets and how it is judged."""
