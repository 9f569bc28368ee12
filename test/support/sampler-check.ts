/** Samplers, and drafts that are verified, by the naive chain. */
import { expect } from 'vitest';
import { LMHead, LMHeadError, type NextOptions, type SampledToken, type SampleOptions } from '../../lib';
import { backends } from './backends';
import { type ChainOptions, type Chosen, choose, type NoToken } from './naive-chain';
import { expectClose, expectSame } from './numbers';
import { Random } from './random';
import { samplingCase } from './sampling-cases';
import { CODES, type Counts, expectLog } from './sampling-counts';

/** Options of single values, as a caller says them. */
function spokenOf({ allowed, ...chain }: ChainOptions) {
  return { ...chain, allowedIds: allowed && [...allowed] } satisfies SampleOptions;
}

/** A case's first row, where products with powers of two are exact. */
function oneRow(seed: number): { V: number; u: Float32Array; chain: ChainOptions } | undefined {
  const { V, logits, chains } = samplingCase(seed);
  if (V > 300 || !logits.every(x => x === 0 || Math.abs(x) > 2 ** -100)) return undefined;
  return { V, u: logits.subarray(0, V), chain: chains[0] };
}

/** What holds for one token alone, of another case. */
function momentary(seed: number, V: number): ChainOptions {
  const { chains } = samplingCase(seed);
  const { logitBias, bannedIds, allowed } = chains[0];
  return {
    logitBias: logitBias && new Map([...logitBias].filter(([id]) => id < V)),
    bannedIds: bannedIds?.filter(id => id < V),
    allowed: allowed && new Set([...allowed].map(id => id % V)),
  };
}

/** As both say: a sampler's options and those of one token. */
function both(own: ChainOptions, now: ChainOptions): ChainOptions {
  const logitBias = new Map(own.logitBias);
  for (const [id, bias] of now.logitBias ?? []) logitBias.set(id, (logitBias.get(id) ?? 0) + bias);
  const [a, b] = [own.allowed, now.allowed];
  return {
    ...own,
    logitBias,
    bannedIds: [...(own.bannedIds ?? []), ...(now.bannedIds ?? [])],
    allowed: a && b ? new Set([...a].filter(id => b.has(id))) : (a ?? b),
  };
}

/** Some tokens in a row by samplers, natively and by the reference, whose options are those of a case. */
export function checkSampler(seed: number, counts: Counts): void {
  const row = oneRow(seed);
  if (!row) return;
  const dice = new Random(seed);
  const { V, u } = row;
  const { step, length, ...chain } = row.chain;
  const steered = !chain.stageOrder && dice.below(3) === 0;
  const mirostat = steered ? { tau: 0.5 * dice.below(12), eta: 0.1 * dice.below(9) } : undefined;
  const heads = backends.map(backend => LMHead.from(u, { vocabSize: V, hiddenSize: 1, backend }));
  const samplers = heads.map(head => head.sampler({ ...spokenOf(chain), mirostat }));
  const history = [...(chain.history ?? [])];
  let limit = 2 * (mirostat?.tau ?? 0);
  counts.cases++;
  for (let drawn = 0; drawn < 8; drawn++) {
    const h = dice.pick([1, 0.5, -1, 2]);
    const more = dice.below(3) === 0 ? momentary(seed + 7919 * drawn, V) : {};
    const now = { ...both(chain, more), history, step: drawn };
    // What is drawn counts for the shortest text; with a prompt, all that follows it does.
    if (chain.promptLength === undefined) now.length = drawn;
    if (mirostat) now.maxSurprisal = Math.max(limit, 0);
    const wanted = choose(
      u.map(x => h * x),
      now,
    );
    const [got, ...others] = samplers.map(sampler => {
      try {
        return sampler.nextSync(Float32Array.of(h), spokenOf(more) as NextOptions);
      } catch (error) {
        if (!(error instanceof LMHeadError)) throw error;
        return error.code;
      }
    });
    if (typeof wanted === 'string' || typeof got === 'string') {
      counts.refused++;
      for (const code of [got, ...others]) expect(code).toBe(CODES[wanted as NoToken]);
      return;
    }
    for (const other of others) expectSame((other as SampledToken).id, got.id, 'token of a sampler', seed);
    counts.rows++;
    if (wanted.close || wanted.closeDraw) counts.close++;
    if (got.id !== wanted.id && (wanted.close || wanted.closeDraw)) {
      counts.otherwise++;
      return;
    }
    expectSame(got.id, wanted.id, `token ${drawn} of sampler`, seed);
    expectLog(got.logProb, wanted.logProbs[wanted.ids.indexOf(wanted.id)], `token ${drawn}`);
    history.push(got.id);
    if (mirostat) limit -= mirostat.eta * (-got.logProb / Math.LN2 - mirostat.tau);
  }
}

/**
 * A draft that is certain of its ids, held against a model: at temperature 0 what drawing token by token gives, at any other
 * tokens of the distributions that would be drawn from.
 */
export function checkDraft(seed: number, counts: Counts): void {
  const row = oneRow(seed);
  if (!row) return;
  const dice = new Random(seed);
  const { V, u } = row;
  const { step = 0, ...chain } = row.chain;
  const n = 1 + dice.below(6);
  const greedy = dice.below(2) === 0;
  if (greedy) {
    chain.temperature = 0;
    delete chain.stageOrder;
  }
  const first = Math.min(step, 2 ** 32 - 1 - n);
  const scales = Array.from({ length: n }, () => dice.pick([1, 0.5, -1, 2]));
  const draft: number[] = [];
  const wanted: (Chosen | NoToken)[] = [];
  let accepted = true;
  let expected = 0;
  for (let i = 0; i < n; i++) {
    const history = [...(chain.history ?? []), ...draft];
    const length = chain.length === undefined ? undefined : chain.length + i;
    const logits = u.map(x => scales[i] * x);
    const chosen = choose(logits, { ...chain, history, length, step: first + i });
    wanted.push(chosen);
    if (i === n - 1 && dice.below(2)) break; // a bonus
    const right = typeof chosen !== 'string' && dice.below(4) > 0;
    draft.push(right ? chosen.ids[0] : dice.below(V));
    accepted &&= typeof chosen !== 'string' && chosen.ids[0] === draft[i];
    if (accepted) expected++;
  }
  counts.cases++;
  const verdicts = backends.map(backend => {
    const head = LMHead.from(u, { vocabSize: V, hiddenSize: 1, backend });
    try {
      const options = { ...spokenOf(chain), step: first };
      return head.verifyDraftSync(Float32Array.from(scales), draft, options);
    } catch (error) {
      if (!(error instanceof LMHeadError)) throw error;
      return `${error.code} ${error.message}`;
    } finally {
      head.close();
    }
  });
  const [got, ...others] = verdicts;
  for (const other of others) {
    if (typeof got === 'string' || typeof other === 'string') {
      expect(other).toBe(got);
      continue;
    }
    expectSame(other.accepted, got.accepted, 'accepted of draft', seed);
    expectClose(other.ids, got.ids, {});
    expectClose(other.logProbs, got.logProbs, { relative: 3e-6, absolute: 2 ** -30 });
  }
  if (typeof got === 'string') {
    counts.refused++;
    // Of the rows that the draft reached, one has no token.
    expect(wanted.map(why => typeof why === 'string' && CODES[why])).toContain(got.split(' ')[0]);
    return;
  }
  counts.rows += got.ids.length;
  if (greedy) expect(got.accepted, `draft ${seed}`).toBe(expected);
  got.ids.forEach((id, i) => {
    const chosen = wanted[i] as Chosen;
    if (chosen.close) {
      counts.close++;
      return;
    }
    const index = chosen.ids.indexOf(id);
    if (index < 0) expect.fail(`id ${i} of draft ${seed}: got ${id}, want one of ${chosen.ids}`);
    if (i < got.accepted) expectSame(id, draft[i], `id ${i} of draft`, seed);
    expectLog(got.logProbs[i], chosen.logProbs[index], `id ${i} of draft ${seed}`);
  });
}
