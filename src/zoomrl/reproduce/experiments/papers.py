"""The papers, as they are named in claims, and what they were measured on."""

CQN = "Seo, Uruc, James (CoRL 2024), Coarse-to-fine Q-networks"
CQN_AS = "Seo, Abbeel (2024), CQN-AS"
IQRL = "Scannell et al. (2024), iQRL"
DRQV2 = "Yarats et al. (2021), DrQ-v2"
CAL_QL = "Nakamoto et al. (2023), Cal-QL"
INDEPENDENT = "public reports of independent laboratories on CQN-AS (2026)"

BIGYM = (
    *("move_plate", "move_two_plates", "saucepan_to_hob", "sandwich_flip"),
    *("sandwich_remove", "dishwasher_load_plates", "dishwasher_close", "cupboards_close_all"),
)
"""Eight tasks of BiGym on which CQN-AS was ablated or reported."""
HUMAN_DEMOS = "demos/{task}"
"""Where demonstrations of BiGym are expected that `zoomrl demos import bigym` has written."""
