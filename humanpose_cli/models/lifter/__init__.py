"""Two networks that lift a person's 2-D joints into space.

metric  the lifter of `hpc fit`: detected landmarks → joints in metres with their noise; learned from motion capture
depth   the lifter of deform-and-learn: 2-D joints → their depths; learned from 2-D joints alone
"""
