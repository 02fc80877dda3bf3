"""Labelled people: the dataset cache, what is read from it for training, and its checks.

samples, encoding     what a source gives; stored JPEG and PNG      label_maps     drawn from posed bodies
schema                every table and column of the cache           reading        the files, row by row
writing, workers      samples to shards, in several processes       building       `build_cache`, plan and index
cache                 `open_cache`                                  export         images as files
verification          what is damaged, record by record             contents       what there is, counted
contact_sheet         images with their labels drawn in             loader         batches in a fixed order
augmentation          crops and random changes, labels alike        fixed_camera   images for a fixed camera
"""
