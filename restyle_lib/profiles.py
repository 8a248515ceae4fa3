"""The one table of sizes: the size parameters of every notebook by profile; one left at 0 is read here."""
from types import SimpleNamespace

from .errors import UserError, suggest

PROFILES = {
    "smoke": "what the tests run: seconds, two cores, no download",
    "quick": "the embedded world with the shipped weights: every figure real, minutes on two cores",
    "gpu": "the embedded world trained on one GPU, minutes per notebook",
    "paper": "published sizes, data and schedules, hours",
}

# notebook, size                              smoke quick   gpu  paper  what it counts
SIZES = (
    ("00_start_here", "images",                   2,    4,     6,     6, "held-out images that are inverted"),
    ("00_start_here", "steps",                    2,    5,     5,     5, "refinement steps"),
    ("01_datasets", "images",                    12,  600,  1000,  1000, "test images for the colour check"),
    ("01_datasets", "rows",                    1000, 2000, 24000, 24000, "rows of attributes"),
    ("01_datasets", "decode",                  1000, 20000, 100000, 1000000, "files decoded of a split"),
    ("02_generator_and_average_style", "samples",   4,   64,    64,    64, "seeds that are drawn"),
    ("02_generator_and_average_style", "draws", 400, 4000, 20000, 20000, "mapped draws behind the means"),
    ("02_generator_and_average_style", "images",  16,  200,   500,  1000, "held-out images to compare on"),
    ("03_refining_one_image", "images",           4,   48,   500,  1000, "held-out images behind the curves"),
    ("03_refining_one_image", "samples",          4,   32,   256,   256, "samples whose latent is known"),
    ("03_refining_one_image", "steps",           10,   10,    10,    10, "refinement steps"),
    ("04_your_own_images", "images",              1,    3,     3,     3, "samples, without a photo"),
    ("04_your_own_images", "reference",           8,   32,   100,   100, "held-out images behind limits"),
    ("04_your_own_images", "samples",            40,  400,  4000,  4000, "samples behind directions"),
    ("04_your_own_images", "steps",               2,    5,     5,     5, "refinement steps"),
    ("04_your_own_images", "search",              3,   60,   300,   300, "steps of optimisation"),
    ("04_your_own_images", "frames",              5,   25,    25,    25, "pictures of an animation"),
    ("10_train_generator", "side",               16,   16,    64,  1024, "pixels of the training, at most"),
    ("10_train_generator", "train_images",       40,  512, 24000, 70000, "training images"),
    ("10_train_generator", "shown",              48, 4400, 800_000, 25_000_000, "images that are shown"),
    ("10_train_generator", "tuned",              24, 1200, 100_000, 1_000_000, "... in fine-tuning"),
    ("10_train_generator", "samples",            20,  200,  2000, 10000, "samples behind histograms and KID"),
    ("10_train_generator", "images",              4,   24,   500,  1000, "held-out images beside samples"),
    ("11_train_feature_networks", "images",       4,   64,   256,   256, "held-out images, changed"),
    ("11_train_feature_networks", "identities",   4,  100,   125,   250, "held-out identities"),
    ("11_train_feature_networks", "training",    32,  384,  4000, 24000, "training images"),
    ("11_train_feature_networks", "budget",      96, 1536, 64000, 64000, "images training shows"),
    ("11_train_feature_networks", "others",      12,   96,   500,   500, "images of MoCo's domain"),
    ("11_train_feature_networks", "pairs",      400, 6000,  6000,  6000, "pairs that are compared"),
    ("12_train_encoders", "train_images",        24,  512, 24000, 70000, "training images"),
    ("12_train_encoders", "shown",                8,  240, 40_960, 880_000, "images that are shown"),
    ("12_train_encoders", "batch",                2,    4,    64,     8, "images in a batch"),
    ("12_train_encoders", "overfit",              1,   24,   100,   500, "iterations of overfit-eight"),
    ("12_train_encoders", "images",               4,   24,   500,  1000, "held-out images behind the curves"),
    ("20_quality_against_time", "images",         3,   64,   500,  1000, "held-out images for encoders"),
    ("20_quality_against_time", "few",            2,    4,    64,   100, "... for optimisations and hybrids"),
    ("20_quality_against_time", "longest",        3,  200,  1500,  1500, "steps of the longest optimisation"),
    ("20_quality_against_time", "hybrid",         2,   50,   500,   500, "steps of the longest hybrid"),
    ("20_quality_against_time", "steps",          2,   10,    10,    10, "refinement steps"),
    ("21_where_it_looks", "images",               3,   64,  1000,  2000, "held-out images averaged over"),
    ("21_where_it_looks", "shown",                2,    4,     8,     8, "images in maps and strips"),
    ("21_where_it_looks", "steps",                3,    5,     5,     5, "refinement steps"),
    ("22_how_styles_settle", "images",            3,   48,   500,  1000, "held-out images"),
    ("22_how_styles_settle", "steps",            11,   20,    20,    20, "refinement steps"),
    ("23_ablation_naive_refeeding", "images",     3,   16,   500,  1000, "held-out images behind the curves"),
    ("23_ablation_naive_refeeding", "steps",     10,   10,    10,    10, "steps of both ways to iterate"),
    ("23_ablation_naive_refeeding", "passes",     0,    0,  2000, 550_000, "... of each variant trained now"),
    ("24_ablation_encoder_head", "images",        3,   64,   500,  1000, "held-out images behind the errors"),
    ("24_ablation_encoder_head", "rounds",        1,    1,    20,    20, "turns of each head in timing"),
    ("24_ablation_encoder_head", "shrink",       32,    1,     1,     1, "divides the published sides"),
    ("24_ablation_encoder_head", "steps",         2,    5,     5,     5, "refinement steps"),
    ("24_ablation_encoder_head", "published",     2,    1,     2,     2, "published sizes that are timed"),
    ("25_your_own_ablation", "images",            3,   16,   200,   500, "held-out images to compare on"),
    ("25_your_own_ablation", "steps",             3,    6,    20,    20, "refinement steps at inference"),
    ("25_your_own_ablation", "passes",            3,   24,  2000, 550_000, "of a batch, for each variant"),
    ("25_your_own_ablation", "batch",             2,    4,     8,     8, "images in a batch"),
    ("25_your_own_ablation", "train_images",     24,  512, 24000, 70000, "training images"),
    ("30_editing", "samples",                    40,  600,  4000, 20000, "samples behind directions"),
    ("30_editing", "images",                      2,   64,   500,  1000, "held-out images for encoders"),
    ("30_editing", "few",                         2,    4,    64,   100, "... for optimisations and hybrids"),
    ("30_editing", "longest",                     2,  200,  1500,  1500, "steps of the longest optimisation"),
    ("30_editing", "hybrid",                      1,   50,   500,   500, "steps of the longest hybrid"),
    ("30_editing", "steps",                       2,    5,     5,     5, "refinement steps"),
    ("30_editing", "frames",                      5,   25,    49,    49, "frames of the animation"),
    ("31_toonify_latent_alignment", "renders",   24,  128,  1000,  1000, "scenes the reader is tested on"),
    ("31_toonify_latent_alignment", "pairs",      8,  128,  1000,  1000, "random latents behind numbers"),
    ("31_toonify_latent_alignment", "shown",      3,    6,     8,     8, "random latents in the picture"),
    ("31_toonify_latent_alignment", "learnt",    12,  100,   300,   300, "renders a style to learn from"),
    ("31_toonify_latent_alignment", "held_out",   8,   64,   200,   200, "... and to test on"),
    ("32_toonify_bootstrapping", "images",        3,   48,   500,  1000, "held-out images behind numbers"),
    ("32_toonify_bootstrapping", "shown",         2,    4,     8,     8, "images in the figures"),
    ("32_toonify_bootstrapping", "inverted",      2,   10,    10,    10, "steps of the first encoder"),
    ("32_toonify_bootstrapping", "steps",         2,    5,     5,     5, "steps of the second encoder"),
    ("32_toonify_bootstrapping", "learnt",       12,  100,   300,   300, "renders a style to learn from"),
    ("32_toonify_bootstrapping", "held_out",      8,   64,   200,   200, "... and to test on"),
)

# Seconds that a notebook takes, measured on two cores (smoke, quick) and one H200 (gpu); None: not measured.
SECONDS = {
    "00_start_here": (6, 7, None, None),
    "01_datasets": (5, 11, None, None),
    "02_generator_and_average_style": (5, 9, None, None),
    "03_refining_one_image": (7, 12, None, None),
    "04_your_own_images": (5, 10, None, None),
    "10_train_generator": (8, 26, None, None),
    "11_train_feature_networks": (7, 20, None, None),
    "12_train_encoders": (11, 33, None, None),
    "20_quality_against_time": (8, 60, None, None),
    "21_where_it_looks": (6, 18, None, None),
    "22_how_styles_settle": (7, 22, None, None),
    "23_ablation_naive_refeeding": (6, 10, None, None),
    "24_ablation_encoder_head": (7, 24, None, None),
    "25_your_own_ablation": (7, 16, None, None),
    "30_editing": (12, 43, None, None),
    "31_toonify_latent_alignment": (8, 20, None, None),
    "32_toonify_bootstrapping": (7, 22, None, None),
    "90_claims": (4, 5, None, None),
}


def size_names(notebook):
    """The size parameters of a notebook, in the table's order."""
    return [name for row, name, *_ in SIZES if row == notebook]


def sizes(notebook, profile, given):
    """SimpleNamespace of resolved sizes: a value of 0 in `given` becomes the profile's, any other wins."""
    check_profile(profile)
    column = list(PROFILES).index(profile)
    table = {row[1]: row[2 + column] for row in SIZES if row[0] == notebook}
    for name, value in given.items():
        if name not in table:
            raise suggest(name, table, f"size parameter of {notebook}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UserError(f"{name}={value}: expected a whole number, 0 for the profile's value")
    return SimpleNamespace(**{name: given.get(name) or value for name, value in table.items()})


def check_profile(profile):
    """Refuses a profile that does not exist."""
    if profile not in PROFILES:
        raise suggest(profile, PROFILES, "profile")
