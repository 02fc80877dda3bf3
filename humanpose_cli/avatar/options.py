"""How a photographed person becomes a textured body and is drawn: all numbers, a class a stage.

Lengths are metres, on a person of any height unless a line says 1.7 m. Shares are 0…1. Colours are 0…1 of the
photograph's white; `distance` of colours is that of `ClothColours.features`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from humanpose_cli.avatar.colours import ClothColours


@dataclass(frozen=True)
class AlignmentOptions:
    """How the surface follows the keypoints.

    min_confidence    of keypoints that count
    max_shift         metres at 1.7 m: keypoints farther off are not followed
    stray_confidence  of keypoints farther off that show where a limb is; less confident ones are taken for errors
    max_stray_share   of the limbs' keypoints that may be strays; with more, the body as a whole is wrong
    stray_radius      metres at 1.7 m around such a limb's middle that show it, clothed
    radius            metres around a landmark that move with it
    reach             metres along the surface over which a shift fades where no landmark supports it
    pull              of a landmark on its surroundings, against the surface's stiffness of 1
    head_scales       smallest and largest size of the head relative to the fitted body's
    """

    min_confidence: float = 0.5
    max_shift: float = 0.1
    stray_confidence: float = 0.75
    max_stray_share: float = 1 / 3
    stray_radius: float = 0.08
    radius: float = 0.06
    reach: float = 0.4
    pull: float = 10.0
    head_scales: tuple[float, float] = (0.85, 1.25)


def _cloth_thickness() -> dict[str, tuple[float, float]]:
    return {
        "pelvis": (0.03, 0.08),
        "hip": (0.03, 0.09),
        "knee": (0.025, 0.08),
        "ankle": (0.015, 0.03),
        "foot": (0.01, 0.025),
        "spine1": (0.03, 0.08),
        "spine2": (0.03, 0.08),
        "spine3": (0.03, 0.08),
        "neck": (0.02, 0.05),
        "collar": (0.025, 0.07),
        "shoulder": (0.02, 0.08),
        "elbow": (0.015, 0.08),
        "wrist": (0.006, 0.012),
        "hand": (0.004, 0.006),
        "head": (0.02, 0.12),
    }


@dataclass(frozen=True)
class SilhouetteOptions:
    """How the body is widened to the mask.

    rounds     repetitions: each corrects what the ones before missed
    reach      metres along the surface over which a displacement fades where nothing supports it
    smoothing  metres along the silhouette over which displacements are averaged
    softness   metres over which the result is smoothed, so that it bends and never breaks off
    symmetry   share of a displacement that its mirror image takes over where it is hidden itself
    max_pixels height of the person, pixels, in the copy on which the outline is followed
    thickness  metres at 1.7 m that clothes, hair and a loose fit move each part inwards and outwards at most
    face       the same, in both directions, of the face, which keeps its features however wide the hair around it is
    """

    rounds: int = 2
    reach: float = 0.4
    smoothing: float = 0.006
    softness: float = 0.008
    symmetry: float = 0.8
    max_pixels: float = 480
    thickness: dict[str, tuple[float, float]] = field(default_factory=_cloth_thickness)
    face: float = 0.012


@dataclass(frozen=True)
class ShoeOptions:
    """When feet wear shoes, and which form those have.

    min_visible       share of a part's surface that must be visible to decide by it
    depth_tolerance   metres behind what a pixel shows
    min_mask          of pixels that show the person
    brightness_ratio  in a photograph without colours: factor by which a shoe is brighter or darker than skin
    leather           metres around the toes
    instep            metres behind the toes that become smooth with them
    min_vertices      of a foot with toes: bodies with fewer have none
    rounds            of moving each vertex between its neighbours, for the body's usual shape, then for the person's
    """

    min_visible: float = 0.05
    depth_tolerance: float = 0.01
    min_mask: float = 0.9
    brightness_ratio: float = 1.6
    leather: float = 0.003
    instep: float = 0.03
    min_vertices: int = 12
    rounds: tuple[int, int] = (50, 2)


@dataclass(frozen=True)
class LooseClothOptions:
    """Which pixels beside the body are cloth or hair that moves with it.

    side            cells along the person's height, at most
    min_width       cells: what is narrower is an error of the mask
    overlap         cells by which the sheet reaches under the body
    edge            cells at the mask's border whose colours mix with the background's
    min_area        share of the person's area: smaller pieces are errors of the mask
    max_distance    metres from the body: pixels farther away are something else
    tuck            metres that the sheet lies behind the surface where it reaches under it
    max_arm_share   of an arm's bones in what lies beside it: sleeves stay the body's
    min_volume      of a blended bone's unit cube: what bends more cannot be posed back
    skirt_fill      share of a row of the gap between the legs that is the person's where it is a skirt
    min_skirt       metres of a skirt between the legs
    """

    side: int = 256
    min_width: int = 3
    overlap: int = 4
    edge: float = 1.5
    min_area: float = 0.003
    max_distance: float = 0.16
    tuck: float = 0.012
    max_arm_share: float = 0.1
    min_volume: float = 0.75
    skirt_fill: float = 0.75
    min_skirt: float = 0.12


@dataclass(frozen=True)
class LightOptions:
    """How the light of a photograph is found: least squares on log brightness.

    hues            clusters of hue on each limb, whose points have one colour
    brightness_gap  in a photograph without colours: difference of log brightness that no light makes on a part
    min_points      of the surface that a light is found from
    ridge           weight of "no light" against one point's mean evidence
    rounds          of reweighted least squares
    scale           of residuals: larger ones are patterns or cast shadows
    max_log         of |log brightness| that a light adds
    bright_range    colours 0…1 outside it are too dark, or clipped
    """

    hues: int = 5
    brightness_gap: float = 1.0
    min_points: int = 300
    ridge: float = 0.004
    rounds: int = 4
    scale: float = 0.15
    max_log: float = 0.8
    bright_range: tuple[float, float] = (0.03, 0.98)


@dataclass(frozen=True)
class InpaintOptions:
    """How the background behind a removed person is made up. Costs are squared grey levels, summed over RGB.

    offsets           offsets at which the image resembles itself that are tried, at most
    patch_radius      pixels of the patches whose resemblance is looked for
    components        principal components of a patch that are compared
    neighbours        resembling patches of which the first that is far enough counts
    min_offset        share of the image's longer side (He and Sun 2012, section 3)
    histogram_blur    pixels of the histogram of offsets (the same)
    level_offsets     offsets without change of height to a width, for grounds, horizons and shelves
    covering_offsets  further offsets, at most, for pixels that no other leads to a known one
    height_cost       of a copy from another height, at the whole height of the image
    choice_pixels     missing pixels of the copy on which offsets are chosen, about
    blend_pixels      missing pixels of the copy on which seams are mended and brightness is evened, about
    reach             surroundings that are copied, in sizes of the hole
    feather           width of the soft edge, as a share of the hole's size
    rim               pixels around a region by which its offset is refined
    rim_samples       pixels of rim and region that are compared, at most
    max_difference    cost from which two pixels are merely different
    outside_cost      of a region whose offset leads to no known pixel
    seam_rounds       of mending seams
    light_difference  grey levels by which copies differ at a seam that is a mere change of light
    pull              weight of a copy's own colours against its gradients
    """

    offsets: int = 60
    patch_radius: int = 3
    components: int = 8
    neighbours: int = 6
    min_offset: float = 1 / 15
    histogram_blur: float = 2**0.5
    level_offsets: int = 24
    covering_offsets: int = 20
    height_cost: float = 600
    choice_pixels: int = 2500
    blend_pixels: int = 9000
    reach: float = 0.8
    feather: float = 0.004
    rim: int = 2
    rim_samples: int = 200
    max_difference: float = 4000.0
    outside_cost: float = 2000.0
    seam_rounds: int = 3
    light_difference: float = 40.0
    pull: float = 0.01


@dataclass(frozen=True)
class HeadOptions:
    """How far a head keeps the view that the photograph has of it; degrees.

    free          turns that change nothing, where the photograph shows a whole face
    free_profile  the same where it shows a profile
    max_turn      that head and neck give together
    fade          turns from the photograph from which the head gives less, and from which nothing
    profile       turn of the photographed head from which one half of the face is hidden
    neck_share    of the turn that the neck gives
    """

    free: float = 35.0
    free_profile: float = 10.0
    max_turn: float = 55.0
    fade: tuple[float, float] = (100.0, 150.0)
    profile: float = 45.0
    neck_share: float = 0.4


@dataclass(frozen=True)
class GroundOptions:
    """When somebody stands, which way is down, and the shadow below the feet.

    stand_height   metres above the soles at which the thighs of a standing person begin
    sole           metres above the ground that still cast the contact shadow
    contact, ambient  soft shadows, under the soles and round the body: reach in metres, share of the light kept away
    min_camera     metres above the ground: from lower the plane is edge-on
    sole_points    of the soles that cast, at most
    carrying       metres above a foot's lowest point that carry weight
    lifted         metres that one foot is higher than the other when it carries nothing
    max_bend       degrees of straight legs, and of the foot before the shin
    astride        share of the height: feet farther apart may be a step
    tilts          degrees from which a tilt is taken for one (fits lean by up to 12), and up to which
    glitch         seconds that a wrong frame of a motion lasts
    drift          metres per second that errors of fits, and slopes, move the ground at most
    touching       metres above the ground that touch it
    stays, still   seconds that soles on the ground keep their height, within these metres
    smooth         seconds, standard deviation: soles of fits tremble
    sinking        metres that a body may be below the ground: soft soles, and what smoothing leaves
    max_error      metres between soles and ground that a fit's feet may be wrong
    max_flight     seconds that a person is in the air at most
    """

    stand_height: float = 0.2
    sole: float = 0.04
    contact: tuple[float, float] = (0.045, 0.5)
    ambient: tuple[float, float] = (0.28, 0.16)
    min_camera: float = 0.25
    sole_points: int = 60
    carrying: float = 0.05
    lifted: float = 0.08
    max_bend: float = 40.0
    astride: float = 0.3
    tilts: tuple[float, float] = (15.0, 50.0)
    glitch: float = 0.15
    drift: float = 0.3
    touching: float = 0.01
    stays: float = 0.3
    still: float = 0.025
    smooth: float = 0.08
    sinking: float = 0.01
    max_error: float = 0.04
    max_flight: float = 1.0


@dataclass(frozen=True)
class GarmentOptions:
    """What the visible part of a garment says about it.


    min_detail       share of a patterned garment's texels that differ from their surroundings
    window_width      metres: a pattern shows in most places of this width,
    window_detail     whose median share of detail is this or more,
    window_evenness   and whose tenth with the least detail has this part of the median or more
    plain_share      of a plain garment's texels that have its most frequent colour
    main_share       share of a garment from which a colour is its own
    sides            metres from the middle of the resting body: both sides of an open front
    stroke           metres: lettering is wider than the border between two colours
    max_lettering    share of the garment that lettering covers
    print_area       smallest and largest of a print or badge, m²
    print_border     share of a print's border that has the garment's own colour
    print_ground     share of a garment with prints that has its own colour
    """

    min_detail: float = 0.2
    window_width: float = 0.12
    window_detail: float = 0.12
    window_evenness: float = 0.3
    plain_share: float = 0.55
    main_share: float = 0.15
    sides: tuple[float, float] = (0.06, 0.14)

    stroke: float = 0.006
    max_lettering: float = 0.15
    print_area: tuple[float, float] = (0.0003, 0.02)
    print_border: float = 0.6
    print_ground: float = 0.4


@dataclass(frozen=True)
class ReliefOptions:
    """How made-up surfaces get relief.

    hollow_reach     metres: surface farther away keeps no light off
    hollow_strength  factor on the light that is kept off
    min_light        share of the light that reaches the deepest hollow
    strand_widths    metres of strands of hair of three sizes
    strand_length    of strands, in widths
    strand_wave      metres along a head over which strands lean to a side, and how far
    max_depth        share by which strands of one size darken and brighten at most
    min_texels       of visible hair from which its variation is measured
    """

    hollow_reach: float = 0.035
    hollow_strength: float = 1.5
    min_light: float = 0.45
    strand_widths: tuple[float, float, float] = (0.004, 0.009, 0.02)
    strand_length: float = 5.0
    strand_wave: tuple[float, float] = (0.03, 0.004)
    max_depth: float = 0.12
    min_texels: int = 200


@dataclass(frozen=True)
class CompletionOptions:
    """How hidden texels get their colours.

    light_average  metres over which differences of light between both sides are averaged
    light_fade     metres over which such a difference fades where only one side is visible
    max_light      colours 0…1 by which a mirrored side is brightened or darkened
    detail         metres of details (letters, badges, buckles) that are not carried to hidden points
    contrast       colours 0…1 by which a detail differs from the surroundings' median

    rim            metres over which colours at the border of the visible part are continued with their details
    follow         metres: how closely colours that are spread follow the visible ones
    certain        distance of colours that are certainly a garment's own: shadows and mixed colours are not
    min_feet       share of the feet that is visible and decides their colour
    min_skin       m² of visible skin that decide its colour
    min_face       share of a face whose colours are kept: of less visible ones, only colours of skin
    inherited_weight  of a colour from the next part up the body against a visible one
    min_material   share of the visible surface that a material covers
    hem            share by which a material leads where it alone shows
    pattern        continues a garment's pattern in the texture: small and repeated, so few offsets on few texels
    """

    light_average: float = 0.04
    light_fade: float = 0.15
    max_light: float = 0.15
    detail: float = 0.045
    contrast: float = 0.1

    rim: float = 0.012
    follow: float = 0.01
    certain: float = 0.12
    min_feet: float = 0.05
    min_skin: float = 0.0015
    min_face: float = 0.3
    inherited_weight: float = 0.05
    min_material: float = 0.04
    hem: float = 0.06
    pattern: InpaintOptions = field(default_factory=lambda: InpaintOptions(offsets=25, choice_pixels=900))


@dataclass(frozen=True)
class MeshOptions:
    """How a person is redrawn.

    supersampling    samples per pixel along each side
    texture_size     texels along each side; None: fine enough for the photo, 512 … 4096
    mask_margin      share of the person's height by which the mask is distrusted at its edge
    hole_margin      share of the person's height by which the removed person's hole exceeds the mask
    grain            give smooth made-up parts the photo's noise
    max_arm_share    of the trunk that arms may cover in the photo without a warning
    min_visible      share of the surface that the photo should show
    min_confidence   joints of less confidence leave their limb out of the texture
    max_outside      share of the surface that may leave the photo, beside what does so in the photo, without a warning
    max_turn         degrees that the target may turn away from the side that the photo shows
    The others are the stages' own.
    """

    supersampling: int = 2
    texture_size: int | None = None
    mask_margin: float = 0.008
    hole_margin: float = 0.018
    grain: bool = True
    max_arm_share: float = 0.06
    min_visible: float = 0.3
    min_confidence: float = 0.4
    max_outside: float = 0.01
    max_turn: float = 50.0
    alignment: AlignmentOptions = field(default_factory=AlignmentOptions)
    shoes: ShoeOptions = field(default_factory=ShoeOptions)
    silhouette: SilhouetteOptions = field(default_factory=SilhouetteOptions)
    loose: LooseClothOptions = field(default_factory=LooseClothOptions)
    light: LightOptions = field(default_factory=LightOptions)
    colours: ClothColours = field(default_factory=ClothColours)
    garments: GarmentOptions = field(default_factory=GarmentOptions)
    relief: ReliefOptions = field(default_factory=ReliefOptions)
    completion: CompletionOptions = field(default_factory=CompletionOptions)
    head: HeadOptions = field(default_factory=HeadOptions)
    ground: GroundOptions = field(default_factory=GroundOptions)
    inpainting: InpaintOptions = field(default_factory=InpaintOptions)
