"""Labelled people: the dataset cache, its checks, and what training reads from it.

- samples, encoding: what a source yields; stored JPEG and PNG.
- label_maps: maps drawn from posed bodies.
- schema: every table and column of the cache.
- writing, workers, building: samples to shards in several processes; `build_cache`, its plan and the index.
- reading, cache: the files, row by row; `open_cache`.
- export: images as files.
- verification, contents: damage by record; counts.
- loader, augmentation, fixed_camera: batches in a fixed order; crops and random changes; images for a fixed camera.
"""
