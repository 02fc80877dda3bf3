"""The dataset cache: HDF5 shards with labelled pictures, and the index that joins them.

The format
    schema        every table and column, as data       header         what a file's root says about it
    hdf5_files    contiguous datasets, written          stored_file    located once, then read without HDF5
    migrations    files of older schema versions        encoded        headers and pixels of stored JPEG and PNG
Writing
    checks        a sample against the contract         columns        columns while they grow
    shard_writer  samples to a shard                    planning       which group goes to which shard
    building      `build_cache`                         workers        its processes
    index         what joins the shards
Reading
    shard_reader  rows of one file                      samples        rows back to samples
    shard_set     which shards are open                 tables         columns over all shards
    cache         `open_cache`
Looking at it
    verification  what is damaged, record by record     plausibility   whether labels can be true
    relations     whether tables agree                  contents       what there is, counted
    sheet         pictures with their labels drawn in
"""
