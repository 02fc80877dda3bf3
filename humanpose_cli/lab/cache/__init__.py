"""Labelled people: the dataset cache, its checks, and what training reads from it.

- samples, encoding: what a source yields; stored JPEG and PNG.
- label_maps: maps drawn from posed bodies.
- schema: every table and column of the cache.
- writing, workers, building: samples to shards in several processes; `build_cache`, its plan and the index.
- reading, cache: the files, row by row; `open_cache`.
- export: images as files.
- verification, contents, contact_sheet: damage by record; counts; images with their labels drawn in.
- loader, augmentation, fixed_camera: batches in a fixed order; crops and random changes; images for a fixed camera.
"""
