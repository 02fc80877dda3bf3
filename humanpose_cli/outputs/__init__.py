"""Safe writing of files: complete or not at all, and never over a file that is not hpc's."""
