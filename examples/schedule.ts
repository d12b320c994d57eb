/** A learning rate that falls along half a cosine to nought over a whole run, as Keras declares it. */

type Run = { epochs: number; batchSize: number; trainExamples: number };

export function adamDecaying(initialRate: number, { epochs, batchSize, trainExamples }: Run) {
  const config = {
    initial_learning_rate: initialRate,
    decay_steps: epochs * Math.ceil(trainExamples / batchSize),
  };
  return { class_name: "Adam", config: { learning_rate: { class_name: "CosineDecay", config } } };
}
