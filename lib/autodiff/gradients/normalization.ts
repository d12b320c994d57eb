/**
 * Gradient of LayerNormalization (ONNX, opset 17). With x̂ = (x - mean)/σ and y = x̂·γ + β along the last axes:
 *
 *     dx = (g·γ - mean(g·γ) - x̂·mean(g·γ·x̂))/σ,   dγ = Σ g·x̂,   dβ = Σ g.
 *
 * Memory is what it costs, so it goes over the tensor as seldom as can be: x̂ is normalised again in one pass, and
 * both means are products of the rows with γ/size, for g·x̂ is there for dγ.
 */

import { float, literalOf } from "../../onnx/graph.ts";
import { product as sizeOf } from "../../onnx/operators/rule.ts";
import type { GradientRule } from "../gradient-rule.ts";

const layerNormalization: GradientRule = (c) => {
  const [x, scale] = [c.input(0), c.input(1)];
  const axis = c.view.axis(c.view.int("axis", -1), x.shape.length);
  const shape = c.known(x.shape);
  const size = sizeOf(shape.slice(axis)).size;
  const rows = sizeOf(shape).size / size;
  if (c.hasGradient(1) || c.hasGradient(2)) return c.view.fail("mean and deviation are not differentiated");
  if (
    sizeOf(c.known(scale.shape)).size !== size ||
    (c.has(2) && sizeOf(c.known(c.input(2).shape)).size !== size)
  )
    return c.view.fail("scale and bias must be as large as what is normalised");
  const matrix = [rows, size];
  const g = c.reshape(c.gradient(), matrix);
  const gamma = c.reshape(scale, [size]);
  const biasGradient = () => c.reshape(c.columnSums(g), c.input(2).shape);
  const bias = c.wants(2) ? biasGradient() : undefined;
  if (!c.wants(0) && !c.wants(1)) return [undefined, undefined, bias];

  const ones = c.graph.constant(`ones:${size}`, literalOf(new Float32Array(size).fill(1), [size]));
  const normal = c.op("LayerNormalization", [c.reshape(x, matrix), ones], {
    axis: -1,
    epsilon: float(c.view.float("epsilon", 1e-5)),
  });
  const product = c.mul(g, normal);
  const scaleGradient = c.wants(1) ? c.reshape(c.columnSums(product), scale.shape) : undefined;
  if (!c.wants(0)) return [undefined, scaleGradient, bias];

  const inverse = c.reshape(c.graph.extraOutput(c.node, 2), [rows, 1]);
  const weights = c.reshape(c.mul(gamma, c.scalar(1 / size)), [size, 1]);
  const mean = c.op("MatMul", [g, weights]);
  const meanProduct = c.op("MatMul", [product, weights]);
  const centred = c.sub(c.mul(g, gamma), c.mul(normal, meanProduct));
  const gradient = c.mul(c.sub(centred, mean), inverse);
  return [c.reshape(gradient, shape), scaleGradient, bias];
};

export const normalization: Record<string, GradientRule> = { LayerNormalization: layerNormalization };
