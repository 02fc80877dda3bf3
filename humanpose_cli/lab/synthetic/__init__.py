"""The generator of synthetic people, with every label: who, in what, doing what, before which camera."""
