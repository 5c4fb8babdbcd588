"""EXIF (arXiv 2506.04287): explore without a task, label afterwards, let feedback steer."""

from alicebob.methods import Method

METHOD = Method(
    name="exif",
    source="arXiv 2506.04287",
    explorer="curious",
    curator="label_afterwards",
    objective="sft",
    feedback="weaknesses",
)
