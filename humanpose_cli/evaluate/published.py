"""Figures of the papers, to stand beside ours. Data, networks and resolution differ: compare orders, not numbers."""

from __future__ import annotations

__all__ = [
    "NBF_H36M",
    "NBF_HUMANEVA",
    "NBF_INPUTS",
    "NBF_LOSSES",
    "NBF_SEGMENTERS",
    "NBF_SEGMENTER_IOU",
    "NBF_SUPERVISION",
    "WARP3D_ABLATION",
    "WARP3D_PRIOR",
]

NBF_INPUTS: dict[str, tuple[float, float]] = {
    "rgb": (98.5, 48.9),
    "parts 1": (95.5, 43.0),
    "parts 3": (36.5, 37.5),
    "parts 6": (29.4, 36.2),
    "parts 12": (27.8, 33.5),
    "parts 24": (28.8, 31.8),
    "joints 14": (28.8, 33.4),
    "joints 24": (27.7, 33.4),
}
"""Table 1 of Neural Body Fitting: input → err_joints3D in millimetres on UP-3D and Human3.6M."""

NBF_SEGMENTER_IOU = {"VGG": 57.0, "ResNet": 53.2, "RefineNet": 67.1}
"""Section 4.3, in the order in which it names them: IoU on UP-3D's validation set, percent. Table 2 makes ResNet the
better of the DeepLabs; the sentence lists the figures 67.1, 57.0 and 53.2 for RefineNet, VGG and ResNet."""

NBF_SEGMENTERS: dict[str, tuple[float, float, float, float]] = {
    "VGG": (107.2, 119.9, 135.5, 140.7),
    "ResNet": (97.1, 96.3, 112.2, 115.6),
    "RefineNet": (89.6, 89.9, 82.0, 83.3),
    "GT": (62.3, 60.5, 35.7, 27.8),
}
"""Table 2: segmenter in validation → err_joints3D of networks trained with VGG, ResNet, RefineNet and true parts."""

NBF_LOSSES: dict[str, tuple[float, float, float]] = {
    "lat": (83.7, 93.1, 0.278),
    "lat + 3D": (82.3, 93.4, 0.280),
    "lat + 2D": (83.1, 93.5, 0.278),
    "lat + 3D + 2D": (82.0, 93.5, 0.279),
    "3D": (83.7, 93.5, 1.962),
    "2D": (198.0, 94.0, 1.971),
}
"""Table 3: losses → err_joints3D, PCKh, err_quat."""

NBF_SUPERVISION: dict[int, tuple[float, float]] = {
    100: (83.1, 0.28),
    50: (82.8, 0.28),
    20: (82.8, 0.27),
    10: (83.6, 0.28),
    5: (84.5, 0.29),
    2: (88.1, 0.30),
    1: (93.9, 0.33),
    0: (198.0, 1.97),
}
"""Table 4: percentage of samples with 3-D labels → err_joints3D, err_quat."""

NBF_HUMANEVA: dict[str, tuple[float, float | None]] = {
    "Ramakrishna et al.": (168.4, 145.9),
    "Zhou et al.": (110.0, 98.9),
    "SMPLify": (79.9, 61.9),
    "Random Forests": (93.5, 77.6),
    "SMPLify (dense)": (74.5, 59.6),
    "Neural Body Fitting": (64.0, 49.4),
}
"""Table 5: method → Procrustes-aligned error on HumanEva-I, mean and median in millimetres."""

NBF_H36M: dict[str, tuple[float, float | None]] = {
    "Akhter & Black": (181.1, 158.1),
    "Ramakrishna et al.": (157.3, 136.8),
    "Zhou et al.": (106.7, 90.0),
    "SMPLify": (82.3, 69.3),
    "SMPLify (dense)": (80.7, 70.0),
    "SelfSup": (98.4, None),
    "Pavlakos et al.": (75.9, None),
    "HMR (H36M-trained)": (77.6, 72.1),
    "HMR": (56.8, None),
    "Neural Body Fitting": (59.9, 52.3),
}
"""Table 6: the same on Human3.6M."""

WARP3D_ABLATION: dict[tuple[str, str], tuple[float, float, float]] = {
    ("2d", "2d"): (0.872, 0.566, 0.698),
    ("2d", "3d"): (0.875, 0.578, 0.749),
    ("3d", "2d"): (0.877, 0.607, 0.749),
    ("3d", "3d"): (0.883, 0.626, 0.777),
}
"""Table 1 of the reposing paper: (warping, target pose) → SSIM, SSIM_fg, pose AUC on iPER."""

WARP3D_PRIOR: dict[str, dict[str, tuple[float, float | None]]] = {
    "iper": {
        "PG2, Ma et al.": (0.854, 0.135),
        "SHUP, Balakrishnan et al.": (0.823, 0.099),
        "DSC, Siarohin et al.": (0.829, 0.129),
        "LWB, Liu et al.": (0.840, 0.087),
        "Knoche et al.": (0.883, 0.081),
    },
    "deepfashion": {
        "PG2, Ma et al.": (0.762, None),
        "DSC, Siarohin et al.": (0.756, None),
        "SGW, Dong et al.": (0.793, None),
        "UPIS, Pumarola et al.": (0.747, None),
        "VUNET, Esser et al.": (0.786, 0.196),
        "BodyROI7, Ma et al.": (0.614, None),
        "DPT, Neverova et al.": (0.796, None),
        "CTI, Grigorev et al.": (0.791, 0.169),
        "Li et al.": (0.778, None),
        "Knoche et al.": (0.800, 0.186),
    },
}
"""Table 2: data set → method → SSIM, LPIPS."""
