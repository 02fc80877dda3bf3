"""Building blocks of the models: backbones whose parameters are named as torchvision's, decoders, weights files."""
