/**
 * The layers that the engine "tfjs" has, by Keras's class name, and which of their options TensorFlow.js knows.
 * TensorFlow.js passes over options it does not know, so everything else is refused here. Values of weights come
 * from Moiety; what initialises them is left out. To add one: an entry, and a case in tfjs-engine.test.ts.
 */

export type LayerEntry = {
  /** Handed on as they are. */
  options: readonly string[];
  /** What options are in Keras where they are left out, if they are others in TensorFlow.js. */
  defaults?: Readonly<Record<string, unknown>>;
  /** Weights that TensorFlow.js would draw, if they are not the usual ones. */
  drawn?: readonly string[];
  /** Options that must have one of these values, if any. */
  only?: Readonly<Record<string, readonly unknown[]>>;
};

const CHANNELS_LAST = { data_format: ["channels_last", "channelsLast"] } as const;
const PADDING = { padding: ["valid", "same"] } as const;
/** TensorFlow.js has no gradients of dilated convolutions. */
const DILATION = { dilation_rate: [1, [1], [1, 1]] } as const;
const CONVOLUTION = { ...CHANNELS_LAST, ...PADDING, ...DILATION, groups: [1] } as const;
const POOLING = {
  options: ["pool_size", "strides", "padding"],
  only: { ...CHANNELS_LAST, ...PADDING },
} satisfies LayerEntry;
/** At borders that are padded, TensorFlow.js's gradients are others than Keras's. */
const AVERAGE_POOLING = {
  options: ["pool_size", "strides", "padding"],
  only: { ...CHANNELS_LAST, padding: ["valid"] },
} satisfies LayerEntry;
const GLOBAL_POOLING = { options: [], only: { ...CHANNELS_LAST, keepdims: [false] } } satisfies LayerEntry;
const RECURRENT = {
  options: ["units", "activation", "use_bias", "return_sequences", "go_backwards"],
  only: {
    return_state: [false],
    stateful: [false],
    dropout: [0],
    recurrent_dropout: [0],
    time_major: [false],
    unroll: [false, true],
    unit_forget_bias: [false, true],
    zero_output_for_mask: [false, true],
    use_cudnn: ["auto", false, true],
  },
} satisfies LayerEntry;
const MERGE = { options: [] } satisfies LayerEntry;

export const TFJS_LAYERS: Readonly<Record<string, LayerEntry>> = {
  Activation: { options: ["activation"] },
  Add: MERGE,
  Average: MERGE,
  AveragePooling1D: AVERAGE_POOLING,
  AveragePooling2D: AVERAGE_POOLING,
  BatchNormalization: {
    options: ["axis", "momentum", "epsilon"],
    only: { center: [true], scale: [true], synchronized: [false], renorm: [false] },
  },
  Concatenate: { options: ["axis"] },
  Conv1D: {
    options: ["filters", "kernel_size", "strides", "padding", "activation", "use_bias"],
    only: CONVOLUTION,
  },
  Conv2D: {
    options: ["filters", "kernel_size", "strides", "padding", "activation", "use_bias"],
    only: CONVOLUTION,
  },
  Dense: { options: ["units", "activation", "use_bias"] },
  DepthwiseConv2D: {
    options: ["kernel_size", "strides", "padding", "depth_multiplier", "activation", "use_bias"],
    only: { ...CHANNELS_LAST, ...PADDING, ...DILATION },
  },
  Dropout: { options: ["rate"] },
  Embedding: { options: ["input_dim", "output_dim"], only: { mask_zero: [false] } },
  Flatten: { options: [], only: CHANNELS_LAST },
  GlobalAveragePooling1D: GLOBAL_POOLING,
  GlobalAveragePooling2D: GLOBAL_POOLING,
  GlobalMaxPooling1D: GLOBAL_POOLING,
  GlobalMaxPooling2D: GLOBAL_POOLING,
  LayerNormalization: {
    options: ["axis", "epsilon", "center", "scale"],
    only: { rms_scaling: [false] },
  },
  LSTM: {
    ...RECURRENT,
    options: [...RECURRENT.options, "recurrent_activation"],
    defaults: { recurrent_activation: "sigmoid" },
  },
  MaxPooling1D: POOLING,
  MaxPooling2D: POOLING,
  Maximum: MERGE,
  Minimum: MERGE,
  Multiply: MERGE,
  Permute: { options: ["dims"] },
  ReLU: { options: ["max_value"], only: { negative_slope: [0], threshold: [0] } },
  RepeatVector: { options: ["n"] },
  Rescaling: { options: ["scale", "offset"] },
  Reshape: { options: ["target_shape"] },
  SeparableConv2D: {
    options: ["filters", "kernel_size", "strides", "padding", "depth_multiplier", "activation", "use_bias"],
    only: { ...CHANNELS_LAST, ...PADDING, ...DILATION },
    drawn: ["depthwise", "pointwise"],
  },
  SimpleRNN: RECURRENT,
  ZeroPadding2D: { options: ["padding"], only: CHANNELS_LAST },
};

/** Options of every layer that change nothing here. */
export const LEFT_OUT: readonly string[] = [
  "name",
  "trainable",
  "dtype",
  "module",
  "registered_name",
  "build_config",
  "batch_shape",
  "batch_input_shape",
  "input_shape",
  "sparse",
  "ragged",
  "seed",
  "implementation",
  "fused",
  "input_length",
];

/** TensorFlow.js's activation functions that are Keras's, by Keras's names. */
export const TFJS_ACTIVATIONS: Readonly<Record<string, string>> = {
  elu: "elu",
  linear: "linear",
  relu: "relu",
  relu6: "relu6",
  selu: "selu",
  sigmoid: "sigmoid",
  silu: "swish",
  softmax: "softmax",
  softplus: "softplus",
  softsign: "softsign",
  swish: "swish",
  tanh: "tanh",
};
