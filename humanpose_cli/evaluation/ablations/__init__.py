"""Tables that need trainings of their own: what each part of a method is good for."""
