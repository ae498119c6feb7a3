"""MobileSAM as a tool: arrays in, arrays out.

    from model import MobileSAM

    image = MobileSAM().open("photo.jpg")
    masks = image.segment(points=[[420, 310], [900, 370]]).masks

One level below, without files and lists:

    from model import Prompt, load_predictor

    predictor = load_predictor("mobile_sam.pt")
    embedding = predictor.embed(image)
    mask = predictor.predict(embedding, Prompt.from_points([(420, 310)])).mask

Nothing here talks to Label Studio, serves HTTP, reads the environment or starts threads.
"""

from model.auto_annotation import auto_annotate
from model.everything import EverythingSettings
from model.mobile_sam import MobileSAM, OpenedImage
from model.predictor import Predictor, load_predictor
from model.results import Results
from model.types import ImageEmbedding, MaskPrediction, Prompt

__all__ = [
    "EverythingSettings",
    "ImageEmbedding",
    "MaskPrediction",
    "MobileSAM",
    "OpenedImage",
    "Predictor",
    "Prompt",
    "Results",
    "auto_annotate",
    "load_predictor",
]
