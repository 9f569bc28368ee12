/** Results of heads that know of no vocabulary but their own rows. */
import { got } from '../arguments/describe';
import { integerBetween } from '../arguments/values';
import { LMHeadError } from '../errors';
import { asJson } from '../pass/as-json';
import { rowsOf } from '../pass/rows-of';
import type { TopK } from '../types';

/** @param offsets what is added to the ids of each */
export function mergeUnmarked(shards: readonly TopK[], offsets: readonly number[] | undefined): TopK {
  if (!Array.isArray(shards) || shards.length === 0) {
    throw new LMHeadError('ARGUMENT', `shards: got ${got(shards)}; want an array of results of topK`);
  }
  const added = shards.map((_, i) =>
    offsets === undefined ? 0 : integerBetween(offsets[i], 'offsets', 0, 2 ** 32 - 1, i),
  );
  const rows = shards.map(shard => rowsOf(shard));
  const [{ n }] = shards;
  const k = Math.min(...shards.map(shard => shard.k));
  const strange = shards.findIndex(shard => shard.n !== n || shard.logSumExp?.length !== n);
  if (strange >= 0) {
    throw new LMHeadError(
      'SHAPE',
      `shards[${strange}]: got a result of another shape; want ${n} rows, as the first has`,
    );
  }
  const merged: TopK = {
    n,
    k,
    ids: new Uint32Array(n * k),
    logits: new Float32Array(n * k),
    logProbs: new Float32Array(n * k),
    logSumExp: new Float32Array(n),
  };
  for (let row = 0; row < n; row++) {
    const each = shards.map(({ logSumExp }) => logSumExp[row]);
    const max = Math.max(...each);
    const all = Number.isFinite(max)
      ? max + Math.log(each.reduce((sum, x) => sum + Math.exp(x - max), 0))
      : max;
    merged.logSumExp[row] = all;
    const best = rows.flatMap((its, i) =>
      its[row].map(({ id, logit, logProb }) => ({
        id: id + added[i],
        logit: logit!,
        logProb: logProb + each[i] - all,
      })),
    );
    best.sort((a, b) => b.logit - a.logit || a.id - b.id);
    for (let i = 0; i < k; i++) {
      merged.ids[row * k + i] = best[i].id;
      merged.logits[row * k + i] = best[i].logit;
      merged.logProbs[row * k + i] = best[i].logProb;
    }
  }
  return asJson(merged);
}
