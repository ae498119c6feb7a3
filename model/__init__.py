"""MobileSAM as a tool: arrays in, arrays out.

    from model import Prompt, load_predictor

    predictor = load_predictor("mobile_sam.pt")
    embedding = predictor.embed(image)
    mask = predictor.predict(embedding, Prompt.from_points([(420, 310)])).mask

Nothing here knows Label Studio, HTTP servers, the environment or threads.
"""

from model.predictor import Predictor, load_predictor
from model.types import ImageEmbedding, MaskPrediction, Prompt

__all__ = ["ImageEmbedding", "MaskPrediction", "Predictor", "Prompt", "load_predictor"]
