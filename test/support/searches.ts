import { execFileSync } from 'node:child_process';

export interface SearchCounts {
  isa: string;
  calls: number;
  /** Answered by the copy. */
  searches: number;
  fullPasses: number;
  heads: number;
  errors: number;
}

/** Runs test/screening/random-searches.mjs, which throws where an answer differs. */
export function searchedAtRandom(program: string, seed: number, calls: number, isa?: string): SearchCounts {
  const env = { ...process.env, ...(isa && { LMHEAD_ISA: isa }) };
  const printed = execFileSync(process.execPath, [program, `${seed}`, `${calls}`], {
    env,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  return JSON.parse(printed);
}
