"""Labelled people: the HDF5 cache, what is read from it for training, the synthetic generator and real data sets."""
