"""Fast operations on bodies and images, each as a public function, a plain torch reference and Warp kernels.

Importing this package loads neither torch nor Warp. Warp starts with the first kernel that runs.
"""
