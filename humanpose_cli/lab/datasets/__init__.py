"""Datasets in their owners' layouts as sources of samples: one file for each, and what they share."""
