"""From a cache to batches: decoding, crops, augmentation of pictures with all their labels, ordered loading."""
