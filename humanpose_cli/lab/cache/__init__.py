"""Labelled people: the dataset cache, what is read from it for training, and the synthetic generator.

samples, encoding     what a source gives; stored JPEG and PNG      label_maps     drawn from posed bodies
schema                every table and column of the cache           checks         a sample against the contract
writing, workers      samples to shards, in several processes       building       `build_cache`, plan and index
reading               the files, mapped into memory                 cache          `open_cache`
verification          what is damaged, record by record             contents       what there is, counted
contact_sheet         images with their labels drawn in             loader         batches in a fixed order
augmentation          crops and random changes, labels alike        fixed_camera   images for a fixed camera
"""
