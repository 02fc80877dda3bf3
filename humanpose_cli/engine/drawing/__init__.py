"""Drawing of people into images: their light, their colours and their edges, on CPU and CUDA."""
