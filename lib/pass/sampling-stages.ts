/** The stages that decide what a token is drawn from, in llama.cpp's default order. */

/** Each with the options that set it to work. */
export const STAGE_OPTIONS = {
  topNSigma: ['topNSigma'],
  topK: ['topK'],
  typicalP: ['typicalP'],
  topP: ['topP'],
  minP: ['minP'],
  epsilonCutoff: ['epsilonCutoff'],
  etaCutoff: ['etaCutoff'],
  pLess: ['pLess'],
  xtc: ['xtcProbability', 'xtcThreshold'],
  temperature: ['temperature', 'temperatureRange', 'temperatureExponent'],
  maxSurprisal: ['maxSurprisal'],
} as const;

/** A stage of the chain. */
export type Stage = keyof typeof STAGE_OPTIONS;

/** The default order. A stage's number is its position here, from 1; native/core/sampling/filters.h has the same. */
export const STAGES = Object.keys(STAGE_OPTIONS) as Stage[];

/** An order as one number: four bits a stage, the first lowest. The default order is 0, too. */
export function packOrder(order: readonly Stage[]): number {
  return order.reduceRight((packed, stage) => packed * 16 + STAGES.indexOf(stage) + 1, 0);
}

export function unpackOrder(packed: number): readonly Stage[] {
  if (packed === 0) return STAGES;
  const order: Stage[] = [];
  for (let rest = packed; rest > 0; rest = Math.floor(rest / 16)) order.push(STAGES[(rest % 16) - 1]);
  return order;
}
