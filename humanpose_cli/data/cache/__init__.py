"""The dataset cache: HDF5 shards with labelled pictures, and the index that joins them.

schema        every table and column, as data        encoded       headers and pixels of stored JPEG and PNG
checks        a sample against the contract          hdf5_files    contiguous datasets: written and located
shard_writer  samples to a shard                     shard_reader  rows of a shard
index         what joins the shards                  cache         `open_cache`: rows of them all
planning      which group goes to which shard        building      `build_cache`: with several processes
migrations    files of older schema versions         verification  what is damaged, record by record
contents      what is in it, counted                 sheet         pictures with their labels drawn in
"""
