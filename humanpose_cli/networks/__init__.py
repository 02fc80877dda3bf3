"""Building blocks of the models: backbones with torchvision's parameter names, decoders, weights files."""
