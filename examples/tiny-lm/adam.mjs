/** Adam (Kingma & Ba 2015, arXiv:1412.6980), with the paper's constants but for β₂, which suits short trainings. */
const BETA1 = 0.9;
const BETA2 = 0.99;
const EPSILON = 1e-8;

/**
 * @typedef {import('./safetensors.mjs').Tensor} Tensor
 */

export class Adam {
  #tensors;
  #step = 0;
  /** Running means of the gradients and of their squares, by name. */
  #means;
  #squares;

  /** @param {Record<string, Tensor>} tensors which `step` changes */
  constructor(tensors) {
    const zeros = () =>
      Object.fromEntries(
        Object.entries(tensors).map(([name, { values }]) => [name, new Float32Array(values.length)]),
      );
    this.#tensors = tensors;
    this.#means = zeros();
    this.#squares = zeros();
  }

  /**
   * @param {Record<string, Float32Array>} gradients by the tensors' names
   * @param {number} rate of learning
   */
  step(gradients, rate) {
    this.#step++;
    // The means start at 0, which the first steps have to make up for.
    const meanScale = 1 / (1 - BETA1 ** this.#step);
    const squareScale = 1 / (1 - BETA2 ** this.#step);
    for (const [name, gradient] of Object.entries(gradients)) {
      const { values } = this.#tensors[name];
      const mean = this.#means[name];
      const square = this.#squares[name];
      for (let i = 0; i < gradient.length; i++) {
        mean[i] = BETA1 * mean[i] + (1 - BETA1) * gradient[i];
        square[i] = BETA2 * square[i] + (1 - BETA2) * gradient[i] ** 2;
        values[i] -= (rate * mean[i] * meanScale) / (Math.sqrt(square[i] * squareScale) + EPSILON);
      }
    }
  }
}
