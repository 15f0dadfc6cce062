"""The picture of the family shows what the library draws today."""

import dataclasses
import importlib.util
import itertools
import pathlib

import numpy as np
import pytest
from PIL import Image

import dropjax as dj

PLACE = pathlib.Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def picture():
    spec = importlib.util.spec_from_file_location("picture", PLACE / "picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def panels(picture):
    return picture.rows()


def test_the_picture_is_up_to_date(picture, panels):
    with Image.open(PLACE / "family.png") as image:
        drawn = image.text["dropjax"]
    assert drawn == picture.digest(panels), "run `make picture`"


def test_the_picture_has_room_for_all_rows():
    with Image.open(PLACE / "family.png") as image:
        white = (np.asarray(image.convert("L")) == 255).all(1)
    last = np.flatnonzero(~white)[-1]
    assert 5 < len(white) - last < 100


# They have no mask to see: what attention gives, moments, Gaussians of them, a cost.
UNSEEN = {"dot_product_attention", "concrete_dropout_regularizer"}
UNSEEN |= {"dropconnect_moments", "dropconnect_conv_moments"}
UNSEEN |= {"dropconnect_gaussian", "dropconnect_conv_gaussian"}
UNSEEN |= {"dropconnect_dense_general", "dropconnect_einsum"}
TOOLS = {"apply_mask", "keep_mask", "fast_prng", "selected"}


def test_every_method_that_can_be_seen_is_shown(panels):
    shown = {panel.name.split("(")[0] for panel in itertools.chain(*panels)}
    methods = {name for name in dj.__all__ if not name.endswith("_mask")}
    assert methods - TOOLS - UNSEEN <= shown


def test_the_digest_sees_a_mask_that_changes(picture, panels):
    changed = dataclasses.replace(panels[0][1], mask=~panels[0][1].mask)
    assert picture.digest([[changed]]) != picture.digest([[panels[0][1]]])
