"""A BERT encoder as an ONNX graph, written by hand over the weights' own names.

The graph holds no weights: they are given to the session by their names in ``model.safetensors``, so the
file of a graph is some 17 kB, and the weights stay where they are, mapped and shared between processes.

Texts of one batch have one length. So there is no padding, no mask, and what a text gives depends on the
text alone: the same bits in any batch. Two places need care for that, because kernels take another path for
a single row: the pooling is a matrix product per text, and the query row of [CLS] is computed next to its
neighbour's.

Operators were chosen by measurement (``bench/encoders.py``): ``LayerNormalization`` behind a plain ``Add`` is
seven times faster on CPU than the fused ``SkipLayerNormalization``, and a product with its bias followed by
``Gelu`` beats ``BiasGelu``. Sessions therefore run without graph optimisations, which would fuse them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vecloom.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Changes with every change of the graph, so that cached files of an older form are not used.
GRAPH_VERSION = 1

_CONTRIB = "com.microsoft"
_OPSET = 17
_IR_VERSION = 8


@dataclass(frozen=True, slots=True)
class BertShape:
    """The sizes of a ``BertModel``, from its ``config.json``."""

    hidden: int
    layers: int
    heads: int
    positions: int
    epsilon: float

    @classmethod
    def of(cls, config: Mapping[str, Any], where: str) -> BertShape:
        """The sizes in a parsed ``config.json``.

        Raises:
            WeightsError: it is no BERT with absolute positions and exact GELU; ``where`` names the file.
        """
        wanted = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
        for key, value in wanted.items():
            if config.get(key, value) != value:
                raise WeightsError(
                    f"{where}: {key} is {config[key]!r}, this encoder runs {value!r}; use another backend"
                )
        try:
            return cls(
                hidden=int(config["hidden_size"]),
                layers=int(config["num_hidden_layers"]),
                heads=int(config["num_attention_heads"]),
                positions=int(config["max_position_embeddings"]),
                epsilon=float(config.get("layer_norm_eps", 1e-12)),
            )
        except KeyError as missing:
            raise WeightsError(f"{where}: {missing} is missing; pull the model again") from None


@dataclass(frozen=True, slots=True)
class BertOutputs:
    """What a graph gives.

    ``dense``: float32 [batch, hidden], the last layer pooled (``mean`` over all tokens or the first, ``cls``)
    and, where ``normalise``, of length 1. ``attention``: float32 [batch, tokens], the last layer's attention
    from the first token, mean over the heads.
    """

    dense: bool
    attention: bool
    pooling: str = "mean"
    normalise: bool = True


def build_graph(
    shape: BertShape, outputs: BertOutputs, sizes: Mapping[str, tuple[int, ...]]
) -> tuple[bytes, list[str]]:
    """The serialised model, and the names of the weights that a session over it must be given.

    The input is ``ids``, int32 [batch, tokens], every row of one length. ``sizes`` tells the shape of every
    tensor that the weights hold.

    Raises:
        WeightsError: the weights lack a tensor that the shape calls for.
    """
    from onnx import TensorProto, helper

    graph = _Graph(sizes)
    hidden = _embed(graph, shape)
    for layer in range(shape.layers - 1):
        hidden = _layer(graph, shape, layer, hidden)
    results = []
    if outputs.attention:
        _first_row_attention(graph, shape, shape.layers - 1, hidden)
        results.append(helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["batch", "tokens"]))
    if outputs.dense:
        _pool(graph, outputs, _layer(graph, shape, shape.layers - 1, hidden))
        results.append(helper.make_tensor_value_info("dense", TensorProto.FLOAT, ["batch", shape.hidden]))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", "tokens"])
    whole = helper.make_graph(graph.nodes, "bert", [ids], results, graph.initializers())
    model = helper.make_model(
        whole,
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)],
        ir_version=_IR_VERSION,
    )
    return model.SerializeToString(), sorted(graph.weights)


class _Graph:
    """Nodes, constants and weight names, in the order in which they are added."""

    def __init__(self, sizes: Mapping[str, tuple[int, ...]]) -> None:
        self.nodes: list[Any] = []
        self.weights: set[str] = set()
        self._sizes = sizes
        self._constants: dict[str, Any] = {}

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        domain = _CONTRIB if operator in ("Gelu", "MultiHeadAttention") else ""
        self.nodes.append(
            helper.make_node(operator, list(inputs), [output], name=output, domain=domain, **attributes)
        )
        return output

    def constant(self, name: str, value: NDArray[np.int64] | NDArray[np.float32]) -> str:
        from onnx import numpy_helper

        self._constants[name] = numpy_helper.from_array(value, name)
        return name

    def shape(self, *sizes: int) -> str:
        """A constant shape; 0 copies a size, -1 infers one."""
        import numpy as np

        return self.constant("shape:" + ",".join(map(str, sizes)), np.array(sizes, dtype=np.int64))

    def index(self, value: int) -> str:
        import numpy as np

        return self.constant(f"index:{value}", np.array(value, dtype=np.int64))

    def weight(self, name: str) -> str:
        if name not in self._sizes:
            raise WeightsError(f"the weights hold no tensor {name!r}; pull the model again")
        self.weights.add(name)
        return name

    def linear(self, rows: str, module: str, output: str) -> str:
        """A ``torch.nn.Linear``: its weight lies as [out, in]."""
        inputs = (rows, self.weight(module + ".weight"), self.weight(module + ".bias"))
        return self.add("Gemm", inputs, output, transB=1)

    def norm(self, rows: str, module: str, output: str, epsilon: float) -> str:
        inputs = (rows, self.weight(module + ".weight"), self.weight(module + ".bias"))
        return self.add("LayerNormalization", inputs, output, axis=-1, epsilon=epsilon)

    def initializers(self) -> list[Any]:
        """The constants, and a stand-in for every weight: the session replaces it by the real tensor."""
        from onnx import TensorProto

        stand_ins = []
        for name in sorted(self.weights):
            tensor = TensorProto(
                name=name,
                data_type=TensorProto.FLOAT,
                dims=self._sizes[name],
                data_location=TensorProto.EXTERNAL,
            )
            tensor.external_data.add(key="location", value="weights")
            stand_ins.append(tensor)
        return [*self._constants.values(), *stand_ins]


def _embed(graph: _Graph, shape: BertShape) -> str:
    """Token, position and first-type embeddings, normalised: [batch x tokens, hidden]."""
    at = "embeddings."
    tokens = graph.add("Gather", (graph.weight(at + "word_embeddings.weight"), "ids"), "embed.tokens")
    length = graph.add("Shape", ("ids",), "length", start=1, end=2)
    inputs = (graph.weight(at + "position_embeddings.weight"), graph.shape(0), length)
    places = graph.add("Slice", inputs, "embed.places")
    inputs_of_type = (graph.weight(at + "token_type_embeddings.weight"), graph.index(0))
    first_type = graph.add("Gather", inputs_of_type, "embed.type")
    fixed = graph.add("Add", (places, first_type), "embed.fixed")
    total = graph.add("Add", (tokens, fixed), "embed.total")
    graph.add("Shape", (total,), "cube")
    rows = graph.add("Reshape", (total, graph.shape(-1, shape.hidden)), "embed.rows")
    return graph.norm(rows, at + "LayerNorm", "embed", shape.epsilon)


def _layer(graph: _Graph, shape: BertShape, layer: int, hidden: str) -> str:
    """One transformer layer over [batch x tokens, hidden]."""
    at, tag = f"encoder.layer.{layer}.", f"layer{layer}."
    parts = []
    for part in ("query", "key", "value"):
        rows = graph.linear(hidden, f"{at}attention.self.{part}", f"{tag}{part}.rows")
        parts.append(graph.add("Reshape", (rows, "cube"), tag + part))
    mixed = graph.add("MultiHeadAttention", parts, tag + "mixed", num_heads=shape.heads)
    rows = graph.add("Reshape", (mixed, graph.shape(-1, shape.hidden)), tag + "mixed.rows")
    attended = _residual(graph, shape, rows, hidden, at + "attention.output", tag + "attended")
    wide = graph.linear(attended, at + "intermediate.dense", tag + "wide")
    active = graph.add("Gelu", (wide,), tag + "active")
    return _residual(graph, shape, active, attended, at + "output", tag + "out")


def _residual(graph: _Graph, shape: BertShape, rows: str, skip: str, module: str, output: str) -> str:
    """A linear map, the skipped rows added, normalised."""
    mapped = graph.linear(rows, module + ".dense", output + ".mapped")
    total = graph.add("Add", (mapped, skip), output + ".total")
    return graph.norm(total, module + ".LayerNorm", output, shape.epsilon)


def _pool(graph: _Graph, outputs: BertOutputs, rows: str) -> None:
    """The output ``dense``."""
    import numpy as np
    from onnx import numpy_helper

    name = "pooled" if outputs.normalise else "dense"
    hidden = graph.add("Reshape", (rows, "cube"), "last")
    if outputs.pooling == "cls":
        graph.add("Gather", (hidden, graph.index(0)), name, axis=1)
    else:
        one = numpy_helper.from_array(np.ones(1, dtype=np.float32))
        ones = graph.add("ConstantOfShape", ("length",), "pool.ones", value=one)
        count = graph.add("ReduceSum", (ones,), "pool.count")
        share = graph.add("Div", (ones, count), "pool.share")
        row = graph.add("Reshape", (share, graph.shape(1, 1, -1)), "pool.row")
        mean = graph.add("MatMul", (row, hidden), "pool.mean")
        graph.add("Squeeze", (mean, graph.shape(1)), name)
    if outputs.normalise:
        graph.add("LpNormalization", ("pooled",), "dense", axis=-1, p=2)


def _first_row_attention(graph: _Graph, shape: BertShape, layer: int, rows: str) -> None:
    """The output ``attention``: softmax over tokens of q.k, for the first token only.

    Per head, q.k = q.(W_k h + b_k) = (W_k^T q).h + const, and the constant cancels in the softmax: so neither
    the keys nor the [tokens, tokens] scores are ever made.
    """
    import numpy as np

    size = shape.hidden // shape.heads
    at = f"encoder.layer.{layer}.attention.self."
    hidden = graph.add("Reshape", (rows, "cube"), "first.hidden")
    bounds = (hidden, graph.shape(0), graph.shape(2), graph.shape(1))
    pair = graph.add("Slice", bounds, "first.pair")
    flat = graph.add("Reshape", (pair, graph.shape(-1, shape.hidden)), "first.rows")
    queries = graph.linear(flat, at + "query", "first.queries")
    scale = graph.constant("first.scale", np.array(size**-0.5, dtype=np.float32))
    scaled = graph.add("Mul", (queries, scale), "first.scaled")
    pairs_shape = graph.add("Shape", (pair,), "first.pairs_shape")
    pairs = graph.add("Reshape", (scaled, pairs_shape), "first.pairs")
    query = graph.add("Gather", (pairs, graph.index(0)), "first.query", axis=1)
    heads = graph.add("Reshape", (query, graph.shape(0, shape.heads, 1, size)), "first.heads")
    key_weight = (graph.weight(at + "key.weight"), graph.shape(1, shape.heads, size, shape.hidden))
    keys = graph.add("Reshape", key_weight, "first.keys")
    directions = graph.add("MatMul", (heads, keys), "first.directions")
    by_head = graph.add("Reshape", (directions, graph.shape(0, shape.heads, shape.hidden)), "first.by_head")
    across = graph.add("Transpose", (hidden,), "first.across", perm=[0, 2, 1])
    scores = graph.add("MatMul", (by_head, across), "first.scores")
    shares = graph.add("Softmax", (scores,), "first.shares", axis=-1)
    graph.add("ReduceMean", (shares,), "attention", axes=[1], keepdims=0)
