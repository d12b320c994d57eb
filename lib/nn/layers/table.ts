/** Every layer, by its Keras class name. To add one: a file beside this one and an entry here. */

import { ACTIVATION_LAYERS } from "../activations/table.ts";
import type { LayerDefinition } from "../layer.ts";
import { activation, activationLayer } from "./activation.ts";
import { activityRegularization } from "./activity-regularization.ts";
import { alphaDropout } from "./alpha-dropout.ts";
import { ATTENTION_ARGUMENTS, additiveAttention, attention } from "./attention.ts";
import { batchNormalization } from "./batch-normalization.ts";
import { bidirectional } from "./bidirectional.ts";
import { concatenate } from "./concatenate.ts";
import { conv1d, conv2d } from "./conv.ts";
import { conv1dTranspose, conv2dTranspose } from "./conv-transpose.ts";
import { cropping1d, cropping2d } from "./cropping.ts";
import { dense } from "./dense.ts";
import { depthwiseConv1d, depthwiseConv2d } from "./depthwise-conv.ts";
import { dot } from "./dot.ts";
import { dropout, spatialDropout1d, spatialDropout2d } from "./dropout.ts";
import { embedding } from "./embedding.ts";
import { flatten } from "./flatten.ts";
import {
  globalAveragePooling1d,
  globalAveragePooling2d,
  globalMaxPooling1d,
  globalMaxPooling2d,
} from "./global-pooling.ts";
import { groupNormalization } from "./group-normalization.ts";
import { gru } from "./gru.ts";
import { layerNormalization, rmsNormalization } from "./layer-normalization.ts";
import { lstm } from "./lstm.ts";
import {
  any,
  expandDims,
  logicalOr,
  NOT_EQUAL_ARGUMENTS,
  notEqual,
  onesLike,
  zerosLike,
} from "./mask-operations.ts";
import { masking } from "./masking.ts";
import { add, average, maximum, minimum, multiply, subtract } from "./merge.ts";
import { MULTI_HEAD_ARGUMENTS, multiHeadAttention } from "./multi-head-attention.ts";
import { gaussianDropout, gaussianNoise } from "./noise.ts";
import { normalization } from "./normalization.ts";
import { permute } from "./permute.ts";
import { averagePooling1d, averagePooling2d, maxPooling1d, maxPooling2d } from "./pooling.ts";
import { positionEmbedding } from "./position-embedding.ts";
import { prelu } from "./prelu.ts";
import { RECURRENT_ARGUMENTS } from "./recurrent.ts";
import { repeatVector } from "./repeat-vector.ts";
import { rescaling } from "./rescaling.ts";
import { reshape } from "./reshape.ts";
import { separableConv1d, separableConv2d } from "./separable-conv.ts";
import { simpleRnn } from "./simple-rnn.ts";
import { sinePositionEncoding } from "./sine-position-encoding.ts";
import { timeDistributed } from "./time-distributed.ts";
import { tokenAndPositionEmbedding } from "./token-and-position-embedding.ts";
import { DECODER_ARGUMENTS, transformerDecoder } from "./transformer-decoder.ts";
import { ENCODER_ARGUMENTS, transformerEncoder } from "./transformer-encoder.ts";
import { unitNormalization } from "./unit-normalization.ts";
import { upSampling1d, upSampling2d } from "./up-sampling.ts";
import { zeroPadding1d, zeroPadding2d } from "./zero-padding.ts";

export const LAYERS: Readonly<Record<string, LayerDefinition>> = {
  Activation: activation,
  ActivityRegularization: activityRegularization,
  Add: add,
  AlphaDropout: alphaDropout,
  AdditiveAttention: additiveAttention,
  Attention: attention,
  Any: any,
  Average: average,
  AveragePooling1D: averagePooling1d,
  AveragePooling2D: averagePooling2d,
  BatchNormalization: batchNormalization,
  Bidirectional: bidirectional,
  Concatenate: concatenate,
  Conv1D: conv1d,
  Conv1DTranspose: conv1dTranspose,
  Conv2D: conv2d,
  Conv2DTranspose: conv2dTranspose,
  Cropping1D: cropping1d,
  Cropping2D: cropping2d,
  Dense: dense,
  DepthwiseConv1D: depthwiseConv1d,
  DepthwiseConv2D: depthwiseConv2d,
  Dot: dot,
  Dropout: dropout,
  Embedding: embedding,
  ExpandDims: expandDims,
  Flatten: flatten,
  GRU: gru,
  GaussianDropout: gaussianDropout,
  GaussianNoise: gaussianNoise,
  GlobalAveragePooling1D: globalAveragePooling1d,
  GlobalAveragePooling2D: globalAveragePooling2d,
  GlobalMaxPooling1D: globalMaxPooling1d,
  GlobalMaxPooling2D: globalMaxPooling2d,
  GroupNormalization: groupNormalization,
  LSTM: lstm,
  LayerNormalization: layerNormalization,
  LogicalOr: logicalOr,
  Masking: masking,
  MaxPooling1D: maxPooling1d,
  MaxPooling2D: maxPooling2d,
  Maximum: maximum,
  Minimum: minimum,
  MultiHeadAttention: multiHeadAttention,
  Multiply: multiply,
  Normalization: normalization,
  NotEqual: notEqual,
  OnesLike: onesLike,
  PReLU: prelu,
  RMSNormalization: rmsNormalization,
  Permute: permute,
  RepeatVector: repeatVector,
  PositionEmbedding: positionEmbedding,
  Rescaling: rescaling,
  Reshape: reshape,
  SeparableConv1D: separableConv1d,
  SeparableConv2D: separableConv2d,
  SimpleRNN: simpleRnn,
  SinePositionEncoding: sinePositionEncoding,
  SpatialDropout1D: spatialDropout1d,
  SpatialDropout2D: spatialDropout2d,
  Subtract: subtract,
  TokenAndPositionEmbedding: tokenAndPositionEmbedding,
  TransformerDecoder: transformerDecoder,
  TransformerEncoder: transformerEncoder,
  UnitNormalization: unitNormalization,
  ...Object.fromEntries(
    Object.entries(ACTIVATION_LAYERS).map(([name, definition]) => [name, activationLayer(definition)]),
  ),
  TimeDistributed: timeDistributed,
  UpSampling1D: upSampling1d,
  UpSampling2D: upSampling2d,
  ZeroPadding1D: zeroPadding1d,
  ZeroPadding2D: zeroPadding2d,
  ZerosLike: zerosLike,
};

/** Layers that hand the mask of their (first) input on unchanged, those for which Keras says `supports_masking`. */
export const KEEPS_MASK: ReadonlySet<string> = new Set([
  "Activation",
  "ActivityRegularization",
  "AlphaDropout",
  "BatchNormalization",
  "Dense",
  "Dropout",
  "GaussianDropout",
  "GaussianNoise",
  "GroupNormalization",
  "LayerNormalization",
  "Normalization",
  "PReLU",
  "Rescaling",
  "SpatialDropout1D",
  "SpatialDropout2D",
  "UnitNormalization",
  ...Object.keys(ACTIVATION_LAYERS),
  "TimeDistributed",
]);

/** Layers that work on whole numbers as they come; to all others inputs are given as FP32. */
export const TAKES_INTEGERS: ReadonlySet<string> = new Set([
  "Any",
  "Embedding",
  "ExpandDims",
  "LogicalOr",
  "NotEqual",
  "TokenAndPositionEmbedding",
]);

/** Layers whose `dtype` is that of what they give, and which read it themselves. */
export const READS_DTYPE: ReadonlySet<string> = new Set(["OnesLike", "ZerosLike"]);

/** Of layers that use the mask of their input, which may come with the call as well. */
const MASK = ["mask"];

/** Which arguments besides its inputs a layer may be called with, as `inbound_nodes` write them; others are refused. */
export const CALL_ARGUMENTS: Readonly<Record<string, readonly string[]>> = {
  AdditiveAttention: ATTENTION_ARGUMENTS,
  Attention: ATTENTION_ARGUMENTS,
  BatchNormalization: MASK,
  Bidirectional: RECURRENT_ARGUMENTS,
  GRU: RECURRENT_ARGUMENTS,
  GlobalAveragePooling1D: MASK,
  LSTM: RECURRENT_ARGUMENTS,
  MultiHeadAttention: MULTI_HEAD_ARGUMENTS,
  NotEqual: NOT_EQUAL_ARGUMENTS,
  SimpleRNN: RECURRENT_ARGUMENTS,
  TimeDistributed: MASK,
  TransformerDecoder: DECODER_ARGUMENTS,
  TransformerEncoder: ENCODER_ARGUMENTS,
};

/** Layers that take more than one tensor; all others are refused more. */
export const TAKES_SEVERAL: ReadonlySet<string> = new Set([
  "Add",
  "AdditiveAttention",
  "Attention",
  "Average",
  "Bidirectional",
  "Concatenate",
  "Dot",
  "GRU",
  "LSTM",
  "LogicalOr",
  "Maximum",
  "Minimum",
  "MultiHeadAttention",
  "Multiply",
  "SimpleRNN",
  "Subtract",
  "TransformerDecoder",
]);
