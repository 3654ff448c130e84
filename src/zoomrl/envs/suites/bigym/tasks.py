"""The forty BiGym tasks, with rates, lengths and training budgets as in the public CQN-AS experiments.

Plain data: no simulator is imported here. The classes are those of BiGym at commit 72d3054.
"""

from __future__ import annotations

from dataclasses import dataclass

PHYSICS_HZ = 500
"""Physics steps per second; a control step is a whole number of them."""


@dataclass(frozen=True)
class BiGymTask:
    """One task.

    Attributes:
        module: of ``bigym.envs``, where the class is.
        cls: name of the class.
        length: physics steps that an episode may take.
        downsample: physics steps of a control step at the task's own rate.
        frames: control steps that agents were trained for; 101,000 where nothing was published.
        dofs: of the floating base, in the order of the action.
    """

    module: str
    cls: str
    length: int
    downsample: int
    frames: int = 101_000
    dofs: tuple[str, ...] = ("X", "Y", "Z", "RZ")


_FLAT = ("X", "Y", "RZ")

TASKS: dict[str, BiGymTask] = {
    "cupboards_close_all": BiGymTask("cupboards", "CupboardsCloseAll", 15500, 25),
    "cupboards_open_all": BiGymTask("cupboards", "CupboardsOpenAll", 22500, 25),
    "dishwasher_close": BiGymTask("dishwasher", "DishwasherClose", 7500, 20, 51_000),
    "dishwasher_close_trays": BiGymTask("dishwasher", "DishwasherCloseTrays", 8000, 25),
    "dishwasher_load_cups": BiGymTask("dishwasher_cups", "DishwasherLoadCups", 7500, 10),
    "dishwasher_load_cutlery": BiGymTask("dishwasher_cutlery", "DishwasherLoadCutlery", 7000, 10),
    "dishwasher_load_plates": BiGymTask("dishwasher_plates", "DishwasherLoadPlates", 14000, 25),
    "dishwasher_open": BiGymTask("dishwasher", "DishwasherOpen", 7500, 20),
    "dishwasher_open_trays": BiGymTask("dishwasher", "DishwasherOpenTrays", 9500, 25, 26_000),
    "dishwasher_unload_cups": BiGymTask("dishwasher_cups", "DishwasherUnloadCups", 10000, 25),
    "dishwasher_unload_cups_long": BiGymTask("dishwasher_cups", "DishwasherUnloadCupsLong", 18000, 25),
    "dishwasher_unload_cutlery": BiGymTask("dishwasher_cutlery", "DishwasherUnloadCutlery", 15500, 25),
    "dishwasher_unload_cutlery_long": BiGymTask("dishwasher_cutlery", "DishwasherUnloadCutleryLong", 18000, 25),
    "dishwasher_unload_plates": BiGymTask("dishwasher_plates", "DishwasherUnloadPlates", 20000, 25),
    "dishwasher_unload_plates_long": BiGymTask("dishwasher_plates", "DishwasherUnloadPlatesLong", 26000, 25),
    "drawer_top_close": BiGymTask("cupboards", "DrawerTopClose", 3000, 25, 26_000),
    "drawer_top_open": BiGymTask("cupboards", "DrawerTopOpen", 5000, 25, 26_000),
    "drawers_close_all": BiGymTask("cupboards", "DrawersAllClose", 5000, 25, 26_000),
    "drawers_open_all": BiGymTask("cupboards", "DrawersAllOpen", 12000, 25, 51_000),
    "flip_cup": BiGymTask("manipulation", "FlipCup", 5500, 10),
    "flip_cutlery": BiGymTask("manipulation", "FlipCutlery", 12500, 25),
    "move_plate": BiGymTask("move_plates", "MovePlate", 3000, 10, dofs=_FLAT),
    "move_two_plates": BiGymTask("move_plates", "MoveTwoPlates", 5500, 10, dofs=_FLAT),
    "pick_box": BiGymTask("pick_and_place", "PickBox", 13500, 25),
    "put_cups": BiGymTask("pick_and_place", "PutCups", 8500, 20),
    "reach_target_dual": BiGymTask("reach_target", "ReachTargetDual", 1000, 10, dofs=_FLAT),
    "reach_target_multi_modal": BiGymTask("reach_target", "ReachTarget", 1000, 10, dofs=_FLAT),
    "reach_target_single": BiGymTask("reach_target", "ReachTargetSingle", 1000, 10, dofs=_FLAT),
    "sandwich_flip": BiGymTask("pick_and_place", "FlipSandwich", 15500, 25),
    "sandwich_remove": BiGymTask("pick_and_place", "RemoveSandwich", 13500, 25),
    "sandwich_toast": BiGymTask("pick_and_place", "ToastSandwich", 16500, 25),
    "saucepan_to_hob": BiGymTask("pick_and_place", "SaucepanToHob", 11000, 25),
    "stack_blocks": BiGymTask("manipulation", "StackBlocks", 28500, 25),
    "store_box": BiGymTask("pick_and_place", "StoreBox", 15000, 25),
    "store_groceries_lower": BiGymTask("groceries", "GroceriesStoreLower", 32000, 25),
    "store_groceries_upper": BiGymTask("groceries", "GroceriesStoreUpper", 19000, 25),
    "store_kitchenware": BiGymTask("pick_and_place", "StoreKitchenware", 20000, 25),
    "take_cups": BiGymTask("pick_and_place", "TakeCups", 10500, 25),
    "wall_cupboard_close": BiGymTask("cupboards", "WallCupboardClose", 3000, 10, 26_000),
    "wall_cupboard_open": BiGymTask("cupboards", "WallCupboardOpen", 6000, 20, 51_000),
}
