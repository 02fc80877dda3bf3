"""Files in and out: pictures, videos, fit files, pose files, detection files; numpy arrays and Skeletons only."""
