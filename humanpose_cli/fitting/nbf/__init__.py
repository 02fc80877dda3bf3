"""Neural Body Fitting (Omran et al., 3DV 2018): segment, regress, project.

A picture, cut out as a camera that never moves would see the person, becomes a proxy (colour-coded body parts, joints
or what the detector says); a network turns the proxy into shape and part rotations; a body and a projection follow.

    evidence     what is known about a person in a crop       imitation    the same with a detector's errors
    colours      of parts and joints                          inputs       evidence as a network's input
    segmenter    picture → body parts                         regressor    input → shape, rotations, noise
    framing      which crop                                   placing      from the fixed camera to the picture's own
    body_layer   parameters → points, in space and projected  losses       what is minimised
    parameters   shapes and rotations as networks see them    nbf          all of it: `load_nbf`
"""
