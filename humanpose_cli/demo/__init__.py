"""What `hpc demo` shows: real and rendered people fitted and reposed, with nothing but what pip brings."""
