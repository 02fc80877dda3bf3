"""Two networks that lift a person's 2-D joints to 3-D.

metric  the lifter of `hpc fit`: detected landmarks → joints in metres with their noise; trained on motion capture
depth   the lifter of deform-and-learn: 2-D joints → their depths; trained on 2-D joints alone
"""
