/** How far logits are apart, for people. */
import type { LogitDifference } from '../types';

const small = (x: number) => x.toExponential(2);
const share = (x: number) => `${(100 * x).toFixed(2)} %`;

export function differenceLines({
  max,
  rms,
  klDivergence,
  argmaxAgreement,
}: LogitDifference): [string, string][] {
  return [
    ['logits', `differ by ${small(max)} at most, root mean square ${small(rms)}`],
    ['KL', `${small(klDivergence)} nats a position`],
    ['best tokens', `the same at ${share(argmaxAgreement)} of the positions`],
  ];
}

/** What rounding hidden states has done, and nothing else. */
export function roundedLine({ max, rms, klDivergence, argmaxAgreement }: LogitDifference): [string, string] {
  const difference = `${small(max)} at most, root mean square ${small(rms)}, KL ${small(klDivergence)}`;
  return [
    'activations',
    `change logits by ${difference}; the best token is the same at ${share(argmaxAgreement)}`,
  ];
}

/** Of as many positions as all of them have. */
export function together(parts: readonly LogitDifference[]): LogitDifference {
  const positions = parts.reduce((n, part) => n + part.positions, 0);
  const mean = (of: (part: LogitDifference) => number) =>
    parts.reduce((sum, part) => sum + of(part) * part.positions, 0) / positions;
  return {
    positions,
    max: parts.reduce((most, part) => Math.max(most, part.max), 0),
    rms: Math.sqrt(mean(part => part.rms ** 2)),
    klDivergence: mean(part => part.klDivergence),
    argmaxAgreement: mean(part => part.argmaxAgreement),
  };
}
