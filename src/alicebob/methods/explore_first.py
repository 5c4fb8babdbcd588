"""Explore first (the baseline EF of arXiv 2506.04287): EXIF with blank feedback."""

from alicebob.methods import Method

METHOD = Method(
    name="explore_first",
    source="arXiv 2506.04287, baseline EF",
    explorer="curious",
    curator="label_afterwards",
    objective="sft",
    feedback="none",
)
