"""Forward kinematics and linear blend skinning, differentiable on CPU and CUDA."""
