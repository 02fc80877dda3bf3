"""How a photographed person becomes a textured body and is drawn: all numbers, a class a stage.

Lengths hold for people of any height unless a line says 1.7 m, for which they are scaled to the person's. Colours are 0
to 1 of the photograph's white; the distance of colours is that of `ClothColours.features`.
"""

from __future__ import annotations

from dataclasses import dataclass

from humanpose_cli.avatar.colours import ClothColours
from humanpose_cli.core.options import Options, option


@dataclass(frozen=True)
class AlignmentOptions(Options):
    """How the surface follows the keypoints."""

    min_confidence: float = option(0.5, "Minimum confidence of keypoints that are followed.", minimum=0, maximum=1)
    max_shift: float = option(0.1, "Distance at 1.7 m up to which keypoints are followed.", unit="metres", above=0)
    stray_confidence: float = option(
        0.75, "Minimum confidence of farther keypoints that show where a limb is.", minimum=0, maximum=1
    )
    max_stray_share: float = option(
        1 / 3, "Share of the limbs' keypoints up to which they are strays; with more, the body is wrong.", above=0
    )
    stray_radius: float = option(0.08, "Half the width of a clothed stray limb at 1.7 m.", unit="metres", above=0)
    radius: float = option(0.06, "Reach of a landmark, within which the surface moves with it.", unit="metres", above=0)
    reach: float = option(0.4, "Way along the surface over which a shift fades.", unit="metres", above=0)
    pull: float = option(10.0, "Weight of a landmark, against the surface's stiffness of 1.", above=0)
    head_scales: tuple[float, float] = option(
        (0.85, 1.25), "Smallest and largest size of the head relative to the fitted body's.", above=0
    )
    frames: float = option(2.0, "Standard deviation over which a motion's shifts are averaged.", unit="frames", above=0)

    def limit(self, height: float) -> float:
        """Return `max_shift` for a person of that height, metres."""
        return self.max_shift * height / 1.7


@dataclass(frozen=True)
class SilhouetteOptions(Options):
    """How the body is widened to the mask."""

    rounds: int = option(2, "Repetitions, each of which corrects what the ones before missed.", minimum=1)
    reach: float = option(0.4, "Way along the surface over which a displacement fades.", unit="metres", above=0)
    smoothing: float = option(0.006, "Way along the silhouette that displacements average.", unit="metres", above=0)
    softness: float = option(0.008, "Way along the surface that the result averages.", unit="metres", above=0)
    symmetry: float = option(
        0.8, "Share of a displacement that its mirror image takes over where it is hidden itself.", minimum=0, maximum=1
    )
    outline_height: float = option(480, "The person's height in the image that is followed.", unit="pixels", above=0)
    thickness: tuple[tuple[str, float, float], ...] = option(
        (
            ("pelvis", 0.03, 0.08),
            ("hip", 0.03, 0.09),
            ("knee", 0.025, 0.08),
            ("ankle", 0.015, 0.03),
            ("foot", 0.01, 0.025),
            ("spine1", 0.03, 0.08),
            ("spine2", 0.03, 0.08),
            ("spine3", 0.03, 0.08),
            ("neck", 0.02, 0.05),
            ("collar", 0.025, 0.07),
            ("shoulder", 0.02, 0.08),
            ("elbow", 0.015, 0.08),
            ("wrist", 0.006, 0.012),
            ("hand", 0.004, 0.006),
            ("head", 0.02, 0.12),
        ),
        "Part, and how far clothes, hair and a loose fit move it inwards and outwards at most, at 1.7 m.",
        unit="metres",
    )
    face: float = option(0.012, "The same for the face, inwards and outwards.", unit="metres", above=0)


@dataclass(frozen=True)
class ShoeOptions(Options):
    """When feet wear shoes, and which form those have."""

    min_visible: float = option(0.05, "Visible share of a part that decides about shoes.", minimum=0, maximum=1)
    depth_tolerance: float = option(0.01, "Depth behind what a pixel shows.", unit="metres", above=0)
    min_mask: float = option(0.9, "Minimum mask of pixels that show the person.", minimum=0, maximum=1)
    brightness_ratio: float = option(
        1.6, "Factor by which a shoe is brighter or darker than skin in a photograph without colours.", above=1
    )
    bare_share: float = option(0.7, "Share of a foot in the skin's colour that is bare.", minimum=0, maximum=1)
    leather: float = option(0.003, "Thickness around the toes.", unit="metres", above=0)
    instep: float = option(0.03, "Length behind the toes that becomes smooth with them.", unit="metres", above=0)
    min_vertices: int = option(12, "Minimum number of vertices of a foot with toes.", minimum=1)
    rounds: tuple[int, int] = option(
        (50, 2), "Rounds of averaging each vertex's neighbours, for the usual shape and for the person's.", minimum=0
    )


@dataclass(frozen=True)
class LimbOptions(Options):
    """Which pixels show arms before the body, and which no hand."""

    uncertainty: tuple[float, float] = option(
        (0.015, 0.035), "Distances from a forearm within which pixels show it, and may.", unit="metres", above=0
    )
    sleeve: float = option(
        0.08,
        "Distance from a sleeved forearm that crosses the trunk within which pixels may show it.",
        above=0,
        unit="metres",
    )
    min_crossing: float = option(0.06, "Share of the trunk that forearms which cross it hide.", minimum=0, maximum=1)
    like_skin: float = option(
        0.3, "Share of sleeves in the skin's colour above which that is theirs.", minimum=0, maximum=1
    )
    shades: float = option(0.2, "Difference of colour of the folds of a plain cloth.", above=0)
    min_plain: float = option(
        0.3, "Share of clothes in one colour that goes on alone behind arms.", minimum=0, maximum=1
    )
    cuff: float = option(0.03, "Distance from skin within which a sleeve shows cuffs.", unit="metres", minimum=0)
    before: float = option(0.02, "Depth by which a forearm lies before the body.", unit="metres", minimum=0)
    skin_reach: float = option(0.1, "Distance in which skin on clothes is the arm's.", unit="metres", minimum=0)
    beside: float = option(
        0.035, "Distance from an outline before another limb within which it may lie.", unit="metres", above=0
    )
    rim: float = option(0.025, "The same before the background.", unit="metres", above=0)
    apart: float = option(0.01, "Way between both sides of an outline on the resting body.", unit="metres", minimum=0)
    more_frequent: float = option(
        3.0, "How many times as frequent beyond an outline a colour is that does not show the part there.", above=1
    )
    max_samples: int = option(2000, "Number of a part's pixels whose colours are compared.", minimum=1)
    around: float = option(0.05, "Width of the surroundings of a hand.", unit="metres", above=0)
    surrounded: float = option(0.6, "Share of a pocket's surroundings that are the person.", minimum=0, maximum=1)
    like_cloth: float = option(0.7, "Share of a hand's image that is as its surroundings.", minimum=0, maximum=1)
    min_pixels: int = option(12, "Minimum number of pixels of a hand.", minimum=1)


@dataclass(frozen=True)
class ClothOptions(Options):
    """Which form close clothes have over the body."""

    slice: float = option(0.02, "Height of the slices whose outlines are bridged.", unit="metres", above=0)
    fade: float = option(0.04, "Way from shoulders, crotch and ankles over which it begins.", unit="metres", above=0)
    span: float = option(0.2, "Length of hollows that cloth spans along a limb.", unit="metres", above=0)
    max_gap: float = option(0.06, "Maximum distance of cloth that spans a hollow.", unit="metres", minimum=0)
    normal_reach: float = option(0.04, "Way over which the cloth's normals average.", unit="metres", above=0)
    min_visible: float = option(0.1, "Visible share of a part that decides whether it is bare.", minimum=0, maximum=1)
    bare_share: float = option(0.5, "Share of skin on a bare part.", minimum=0, maximum=1)
    softness: float = option(0.012, "Way along the surface that the result averages.", unit="metres", above=0)


@dataclass(frozen=True)
class LooseClothOptions(Options):
    """Which pixels beside the body are cloth or hair that moves with it. Cells are those of the sheet."""

    side: int = option(256, "Maximum number of cells along the person's height.", minimum=8)
    min_width: int = option(
        3, "Minimum width of cloth: narrower pieces are errors of the mask.", unit="cells", minimum=1
    )
    overlap: int = option(4, "Width of the sheet's edge under the body.", unit="cells", minimum=0)
    edge: float = option(1.5, "Width of the mask's border that mixes with the background.", unit="cells", minimum=0)
    min_area: float = option(0.003, "Minimum share of the person's area.", minimum=0, maximum=1)
    max_distance: float = option(0.16, "Maximum distance from the body.", unit="metres", above=0)
    tuck: float = option(0.012, "Depth of the sheet behind the surface where it reaches under it.", unit="metres")
    max_arm_share: float = option(
        0.1, "Maximum share of an arm's bones: sleeves belong to the body.", minimum=0, maximum=1
    )
    beside: int = option(4, "Width of what is compared around a piece.", unit="cells", minimum=1)
    apart: float = option(0.1, "How much nearer the background's colour is than the body's.", minimum=0)
    min_volume: float = option(0.75, "Minimum volume of a blended bone's unit cube: others do not invert.", above=0)


@dataclass(frozen=True)
class SkirtOptions(Options):
    """How skirts, dresses and long coats are recognised, and made as a tube round both legs."""

    spacing: float = option(0.02, "Distance of rings along the legs.", unit="metres", above=0)
    around: int = option(96, "Points of a ring.", minimum=8)
    above: float = option(0.08, "Length above the hip joints.", unit="metres", above=0)
    ease: float = option(0.006, "Distance from the body.", unit="metres", minimum=0)
    sharpness: float = option(
        0.03, "Distance over which a ring goes from one leg to the other.", unit="metres", above=0
    )
    min_length: float = option(0.22, "Minimum length of what only a skirt can be.", unit="metres", above=0)
    short: tuple[float, float] = option(
        (0.18, 0.32), "Shortest and longest skirt that its hem alone shows.", unit="metres", above=0
    )
    compared_short: float = option(
        0.06, "Length above and below its hem whose colours are compared.", unit="metres", above=0
    )
    max_apart: float = option(
        40.0,
        "Maximum angle between the thighs of such a skirt, and of its turn from the camera.",
        unit="degrees",
        above=0,
    )
    crease: float = option(0.08, "Darkness between the legs that shorts have and no skirt.", above=0)
    max_holes: float = option(
        0.08, "Maximum share of the line from leg to leg that is background.", minimum=0, maximum=1
    )
    min_gap: float = option(0.03, "Minimum distance of the legs, where cloth between them is a skirt's.", unit="metres")
    loose: float = option(0.45, "Width that only a skirt has beyond the legs, in widths of these.", above=0)
    min_loose: float = option(0.12, "Minimum of that width.", unit="metres", above=0)
    narrower: float = option(0.8, "Width below a hem, in widths of the cloth above it.", above=0, maximum=1)
    compared: float = option(0.12, "Length above and below the hem whose colours are compared.", unit="metres", above=0)
    same_below: float = option(
        0.4, "Share of the legs below that has the cloth's colour where it is no hem.", minimum=0, maximum=1
    )
    max_width: float = option(0.8, "Maximum distance of an edge from the legs.", unit="metres", above=0)
    edge: float = option(0.016, "Width of the mask's edge without trust, in heights of the person.", minimum=0)
    uneven: float = option(
        0.35, "Share of the length, from the hem up, that may show what is below it.", minimum=0, maximum=1
    )


@dataclass(frozen=True)
class LightOptions(Options):
    """How the light of a photograph is found, by least squares on log brightness."""

    hues: int = option(5, "Clusters of hue on each limb; the points of one have one colour.", minimum=1)
    brightness_gap: float = option(
        1.0, "Difference of log brightness on a part that no light makes, in a photograph without colours.", above=0
    )
    min_points: int = option(300, "Minimum number of visible points that a light is found from.", minimum=8)
    ridge: float = option(0.004, "Weight of no light against the mean evidence of a point.", minimum=0)
    rounds: int = option(4, "Rounds of reweighted least squares.", minimum=1)
    scale: float = option(0.15, "Scale of residuals: larger ones are patterns or cast shadows.", above=0)
    max_log: float = option(0.8, "Maximum of the light's log brightness, in both directions.", above=0)
    bright_range: tuple[float, float] = option(
        (0.03, 0.98), "Range of brightness: other colours are too dark, or clipped.", minimum=0, maximum=1
    )


@dataclass(frozen=True)
class InpaintOptions(Options):
    """How the background behind a removed person is made up. Costs are squared grey levels, summed over RGB."""

    offsets: int = option(60, "Maximum number of offsets at which the image resembles itself.", minimum=1)
    patch_radius: int = option(3, "Radius of the patches that are compared.", unit="pixels", minimum=1)
    components: int = option(8, "Principal components of a patch that are compared.", minimum=1)
    neighbours: int = option(6, "Resembling patches of which the first that is far enough counts.", minimum=2)
    min_offset: float = option(
        1 / 15, "Minimum offset as a share of the image's longer side (He and Sun 2012, section 3).", above=0
    )
    histogram_blur: float = option(2**0.5, "Blur of the histogram of offsets (the same).", unit="pixels", above=0)
    level_offsets: int = option(
        24, "Offsets without change of height to a width, for grounds, horizons and shelves.", minimum=1
    )
    covering_offsets: int = option(
        20, "Maximum number of further offsets, for pixels that no other leads to a known one.", minimum=0
    )
    height_cost: float = option(600, "Cost of a copy from another height, at the image's full height.", minimum=0)
    choice_pixels: int = option(2500, "Missing pixels of the copy on which offsets are chosen.", minimum=1)
    blend_pixels: int = option(9000, "Missing pixels of the copy with mended seams and even brightness.", minimum=1)
    reach: float = option(0.8, "Surroundings that are copied, in sizes of the hole.", above=0)
    feather: float = option(0.004, "Width of the soft edge, in sizes of the hole.", minimum=0)
    rim: int = option(2, "Width of a region's rim, by which its offset is refined.", unit="pixels", minimum=1)
    rim_samples: int = option(
        200, "Maximum number of pixels of a rim, and of its region, that are compared.", minimum=1
    )
    max_difference: float = option(4000.0, "Cost from which two pixels are merely different.", above=0)
    outside_cost: float = option(2000.0, "Cost of a region whose offset leads to no known pixel.", minimum=0)
    seam_rounds: int = option(3, "Rounds of mending seams.", minimum=0)
    light_difference: float = option(
        40.0, "Difference of copies at a seam that is a mere change of light.", unit="grey levels", above=0
    )
    pull: float = option(0.01, "Weight of a copy's own colours against its gradients.", above=0)


@dataclass(frozen=True)
class HeadOptions(Options):
    """How far a head keeps the view that the photograph has of it."""

    free: float = option(35.0, "Turn that changes nothing, from a face.", unit="degrees", minimum=0)
    free_profile: float = option(10.0, "Turn that changes nothing, from a profile.", unit="degrees", minimum=0)
    max_turn: float = option(55.0, "Maximum turn that head and neck give together.", unit="degrees", minimum=0)
    fade: tuple[float, float] = option(
        (100.0, 150.0),
        "Turns from the photograph from which the head gives less, and nothing.",
        unit="degrees",
        above=0,
    )
    face: float = option(110.0, "Turn from which no face is visible.", unit="degrees", above=0)
    profile: float = option(45.0, "Turn that hides one half of the face in the photograph.", unit="degrees", above=0)
    neck_share: float = option(0.4, "Share of the turn that the neck gives.", minimum=0, maximum=1)


@dataclass(frozen=True)
class GroundOptions(Options):
    """When somebody stands, which way is down, and the shadow below the feet."""

    stand_height: float = option(0.2, "Height above the soles of all that is above the shins.", unit="metres", above=0)
    sole: float = option(0.04, "Height above the ground that casts the contact shadow.", unit="metres", above=0)
    contact: tuple[float, float] = option(
        (0.045, 0.5), "Shadow under the soles: its reach in metres, and the share of the light kept away.", above=0
    )
    ambient: tuple[float, float] = option((0.28, 0.16), "The same for the shadow round the body.", above=0)
    min_camera: float = option(0.25, "Minimum height of the camera above the ground.", unit="metres", minimum=0)
    sole_points: int = option(60, "Maximum number of points of the soles that cast a shadow.", minimum=1)
    carrying: float = option(0.05, "Height above a foot's lowest point that carries weight.", unit="metres", above=0)
    lifted: float = option(0.08, "Height above the other foot of one that carries nothing.", unit="metres", above=0)
    max_bend: float = option(40.0, "Maximum bend of the knees of straight legs.", unit="degrees", above=0)
    astride: float = option(0.3, "Distance of the feet that may be a step, in heights of the body.", above=0)
    tilts: tuple[float, float] = option(
        (15.0, 50.0), "Smallest and largest tilt of a camera; fits lean by up to 12 degrees.", unit="degrees", above=0
    )
    glitch: float = option(0.15, "Duration of a wrong frame of a motion.", unit="seconds", minimum=0)
    drift: float = option(0.3, "Maximum speed of the ground by errors of fits and slopes.", unit="metres/s", above=0)
    touching: float = option(0.01, "Height above the ground that touches it.", unit="metres", minimum=0)
    stays: float = option(0.3, "Duration for which soles on the ground keep their height.", unit="seconds", above=0)
    still: float = option(0.025, "Change of height of such soles.", unit="metres", above=0)
    smooth: float = option(0.08, "Standard deviation of the filter against trembling soles.", unit="seconds", above=0)
    sinking: float = option(0.01, "Maximum depth of a body below the ground.", unit="metres", minimum=0)
    max_error: float = option(0.04, "Maximum error of a fit's soles on the ground.", unit="metres", minimum=0)
    max_flight: float = option(1.0, "Maximum duration in the air.", unit="seconds", above=0)


@dataclass(frozen=True)
class GarmentOptions(Options):
    """What the visible part of a garment says about it. Shares are of its visible texels."""

    min_detail: float = option(0.2, "Share of detail that makes a garment patterned.", minimum=0, maximum=1)
    window_width: float = option(0.12, "Width of windows in which detail is measured.", unit="metres", above=0)
    window_detail: float = option(0.12, "Median share of detail in windows of a pattern.", minimum=0, maximum=1)
    window_evenness: float = option(0.3, "Part of the median in the tenth of windows with the least.", minimum=0)
    plain_share: float = option(0.55, "Share of a plain garment's most frequent colour.", minimum=0, maximum=1)
    main_share: float = option(0.15, "Share from which a colour is one of the garment's.", minimum=0, maximum=1)
    sides: tuple[float, float] = option(
        (0.06, 0.14), "Distances from the body's middle between which the sides of a front are.", unit="metres", above=0
    )
    stroke: float = option(0.006, "Width of the border between two colours.", unit="metres", above=0)
    max_lettering: float = option(0.15, "Maximum share of lettering.", minimum=0, maximum=1)
    print_area: tuple[float, float] = option((0.0003, 0.02), "Smallest and largest print.", unit="m²", above=0)
    print_border: float = option(0.6, "Share of a print's border in the garment's own colour.", minimum=0, maximum=1)
    print_ground: float = option(0.4, "Share of its own colour on a garment with prints.", minimum=0, maximum=1)


@dataclass(frozen=True)
class ReliefOptions(Options):
    """How made-up surfaces get relief."""

    hollow_reach: float = option(0.035, "Distance at which surface keeps light off.", unit="metres", above=0)
    hollow_strength: float = option(1.5, "Factor on the light that is kept off.", minimum=0)
    min_light: float = option(0.45, "Share of the light in the deepest hollow.", minimum=0, maximum=1)
    strand_widths: tuple[float, float, float] = option((0.004, 0.009, 0.02), "Strands of hair.", unit="metres", above=0)
    strand_length: float = option(5.0, "Length of strands, in widths.", above=0)
    strand_wave: tuple[float, float] = option(
        (0.03, 0.004), "Way along a head over which strands lean to a side, and how far.", unit="metres", above=0
    )
    max_depth: float = option(0.12, "Maximum share by which strands of one size darken.", minimum=0, maximum=1)
    min_texels: int = option(200, "Texels of visible hair from which its variation is measured.", minimum=1)


@dataclass(frozen=True)
class CompletionOptions(Options):
    """How hidden texels get their colours."""

    light_average: float = option(0.04, "Way that differences of both sides' light average.", unit="metres", above=0)
    light_fade: float = option(0.15, "Way over which such a difference fades.", unit="metres", above=0)
    max_light: float = option(0.15, "Maximum change of a mirrored side's colours.", minimum=0)
    detail: float = option(0.045, "Size of details that hidden points do not take.", unit="metres", above=0)
    contrast: float = option(0.1, "Difference of a detail from the median around it.", above=0)
    rim: float = option(0.012, "Way that the visible part's border goes on.", unit="metres", above=0)
    follow: float = option(0.01, "Way within which spread colours follow visible ones.", unit="metres", above=0)
    certain: float = option(0.12, "Distance of colours that are certainly a garment's own.", above=0)
    min_feet: float = option(0.05, "Visible share of the feet that decides their colour.", minimum=0, maximum=1)
    min_skin: float = option(0.0015, "Visible skin that decides its colour.", unit="m²", above=0)
    min_face: float = option(
        0.3, "Visible share of a face that keeps its colours; others keep those of skin.", minimum=0, maximum=1
    )
    min_hair: float = option(
        0.6,
        "Share of the visible scalp without skin from which the hidden one has none.",
        minimum=0,
        maximum=1,
    )
    inherited_weight: float = option(
        0.05, "Weight of a colour from further up the body, against a visible one.", above=0
    )
    min_material: float = option(
        0.08, "Share of head, trunk and arms, legs or feet from which a material counts.", minimum=0, maximum=1
    )
    usual_colour: float = option(
        0.3, "Way along the surface over which colours become the usual one of their cloth.", unit="metres", above=0
    )
    cloth_brightness: float = option(
        0.5, "Weight of the logarithm of brightness among colours whose light was taken off.", minimum=0
    )
    other_cloth: float = option(
        0.15, "Distance of the legs' colours from which they are other cloth than the trunk's.", above=0
    )
    pattern: InpaintOptions = option(
        InpaintOptions(offsets=25, choice_pixels=900), "How a pattern, which is small and repeats, goes on."
    )


@dataclass(frozen=True)
class FrameTextureOptions(Options):
    """How the colours of many frames become one texture."""

    outline_margin: float = option(0.008, "Width of outlines without trust, in sides of the crop.", minimum=0)
    scales: tuple[float, ...] = option(
        (0.5, 0.25, 0.12, 0.12), "Robust scale of colours in each round; the first is wide for outliers' sake.", above=0
    )
    full_weight: float = option(0.5, "Weight of all frames together that gives full trust.", above=0)


@dataclass(frozen=True)
class MeshOptions(Options):
    """How a person is redrawn: general options, then those of each stage."""

    supersampling: int = option(2, "Samples per pixel along each side.", minimum=1)
    texture_size: int | None = option(
        None, "Texels along each side.", minimum=64, unset="fine enough for the photo, 512 to `max_texture_size`"
    )
    max_texture_size: int = option(4096, "Maximum of texels along each side without `texture_size`.", minimum=512)
    mask_margin: float = option(0.008, "Width of the mask's edge without trust, in heights of the person.", minimum=0)
    hole_margin: float = option(0.018, "Width of the hole beyond the mask, in heights of the person.", minimum=0)
    grain: bool = option(True, "Give smooth made-up parts the photo's noise.")
    max_arm_share: float = option(
        0.06, "Share of the trunk that arms may cover in the photo without a warning.", minimum=0, maximum=1
    )
    min_visible: float = option(0.3, "Share of the surface that the photo should show.", minimum=0, maximum=1)
    min_confidence: float = option(
        0.4, "Minimum confidence of joints whose limb is in the texture.", minimum=0, maximum=1
    )
    max_outside: float = option(
        0.01, "Share of the surface that may leave the photo without a warning.", minimum=0, maximum=1
    )
    max_uncovered: float = option(
        0.08, "Share of the mask off body and clothes without a warning.", minimum=0, maximum=1
    )
    max_turn: float = option(50.0, "Turn from the photographed side without a warning.", unit="degrees", minimum=0)
    alignment: AlignmentOptions = option(AlignmentOptions(), "Moving the surface under the keypoints.")
    shoes: ShoeOptions = option(ShoeOptions(), "Shoes on feet.")
    silhouette: SilhouetteOptions = option(SilhouetteOptions(), "Widening the body to the mask.")
    limbs: LimbOptions = option(LimbOptions(), "Arms before the body, and hands in pockets.")
    cloth: ClothOptions = option(ClothOptions(), "The form of close clothes.")
    loose: LooseClothOptions = option(LooseClothOptions(), "Clothes beside the body.")
    skirt: SkirtOptions = option(SkirtOptions(), "Skirts, dresses and long coats.")
    light: LightOptions = option(LightOptions(), "The photograph's light.")
    colours: ClothColours = option(ClothColours(), "Comparing colours.")
    garments: GarmentOptions = option(GarmentOptions(), "Recognising garments.")
    relief: ReliefOptions = option(ReliefOptions(), "Relief of made-up surfaces.")
    completion: CompletionOptions = option(CompletionOptions(), "Colours of hidden texels.")
    head: HeadOptions = option(HeadOptions(), "Turning the head.")
    ground: GroundOptions = option(GroundOptions(), "Standing on the ground.")
    inpainting: InpaintOptions = option(InpaintOptions(), "The background behind the person.")
