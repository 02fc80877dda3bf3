"""Generator of synthetic people with all labels: identity, clothes, activity, and camera."""
