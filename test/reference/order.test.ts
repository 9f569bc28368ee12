/** The order of logits, against the definition: higher first, of equal ones the lower id. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { bestFirst } from '../../lib/reference/order';

const byDefinition = (u: Float32Array, valid: number) =>
  Array.from({ length: valid }, (_, id) => id).sort((a, b) => u[b] - u[a] || a - b);

it('best first, whatever the logits', () => {
  const logit = fc.oneof(
    fc.float({ noNaN: true, noDefaultInfinity: true }),
    fc.constantFrom(0, -0, 1, -1, 2 ** -149, -(2 ** -149), 3.4028234663852886e38),
  );
  fc.assert(
    fc.property(fc.array(logit, { maxLength: 60 }), fc.nat(60), (given, cut) => {
      const u = Float32Array.from(given);
      const valid = Math.min(cut, u.length);
      expect(bestFirst(u, valid)).toEqual(byDefinition(u, valid));
    }),
  );
});

it('of a row with both infinities, of equal ones, and of more ids than a double holds beside a logit', () => {
  expect(bestFirst(Float32Array.of(-Infinity, Infinity, 0, -0, Infinity), 5)).toEqual([1, 4, 2, 3, 0]);
  const many = new Float32Array(2 ** 21 + 3);
  many[2 ** 21 + 2] = 1;
  const best = bestFirst(many, many.length);
  expect(best.slice(0, 3)).toEqual([2 ** 21 + 2, 0, 1]);
  expect(best[best.length - 1]).toBe(2 ** 21 + 1);
});
