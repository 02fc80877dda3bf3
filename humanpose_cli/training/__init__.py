"""One training loop for all models; a recipe per model says what is learned, from what and how it is judged."""
