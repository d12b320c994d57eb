/** Adam with a learning rate that falls along half a cosine to nought over a whole run, as Keras declares it. */

type Run = { epochs: number; batchSize: number; trainExamples: number };

/** @param weightDecay decoupled, as in AdamW */
export function adamDecaying(
  initialRate: number,
  { epochs, batchSize, trainExamples }: Run,
  weightDecay?: number,
) {
  const config = {
    initial_learning_rate: initialRate,
    decay_steps: epochs * Math.ceil(trainExamples / batchSize),
  };
  const learning_rate = { class_name: "CosineDecay", config };
  return weightDecay === undefined
    ? { class_name: "Adam", config: { learning_rate } }
    : { class_name: "AdamW", config: { learning_rate, weight_decay: weightDecay } };
}
