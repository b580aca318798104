"""Embedding: vectors of a whole data set in a file, nearest neighbours among them, and an estimator for scikit-learn."""

from anyjepa.embedding.estimator import Embedder
from anyjepa.embedding.picture import contact_sheet
from anyjepa.embedding.search import Answer, Neighbour, search
from anyjepa.embedding.stored import Embeddings
from anyjepa.embedding.write import Embedded, embed

__all__ = ["Answer", "Embedded", "Embedder", "Embeddings", "Neighbour", "contact_sheet", "embed", "search"]
