"""The 22 tasks of RLBench with a published time limit."""

from __future__ import annotations

LIMITS = {
    "basketball_in_hoop": 125,
    "insert_usb_in_computer": 100,
    "lamp_on": 100,
    "meat_on_grill": 150,
    "open_door": 125,
    "open_drawer": 100,
    "open_microwave": 125,
    "open_oven": 225,
    "phone_on_base": 175,
    "pick_up_cup": 100,
    "press_switch": 100,
    "put_books_on_bookshelf": 175,
    "put_money_in_safe": 150,
    "put_rubbish_in_bin": 150,
    "reach_target": 50,
    "slide_block_to_target": 150,
    "stack_wine": 150,
    "sweep_to_dustpan": 100,
    "take_lid_off_saucepan": 100,
    "take_plate_off_colored_dish_rack": 150,
    "toilet_seat_up": 150,
    "turn_tap": 125,
}
"""Agent steps after which an episode is truncated, by task. Source: configuration files of the public CQN-AS repository
(January 2025), which misspell meat_on_grill."""
