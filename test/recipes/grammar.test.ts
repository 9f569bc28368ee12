/** Constrained decoding: a grammar engine's mask decides what a sampler may draw (docs/recipes/grammar.md). */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type * as XGrammar from '@mlc-ai/web-xgrammar' with { 'resolution-mode': 'import' };
import { beforeAll, describe, expect, it } from 'vitest';
import { LMHead } from '../../lib';
import { backends } from '../support/backends';
import { temporaryFolder } from '../support/folders';

const SENTENCE = 'root ::= ("Lily " | "Max ") "was " ("very "){0,2} ("sad " | "proud " | "grumpy ") ". "';
const WANTED = /^(Lily|Max) was (very ){0,2}(sad|proud|grumpy) \. <end>$/;

const folder = temporaryFolder();

/** A CommonJS bundle that its package.json calls a module. */
function loadEngine(): typeof XGrammar {
  const bundle = readFileSync(require.resolve('@mlc-ai/web-xgrammar'));
  return createRequire(__filename)(folder.file('xgrammar.cjs', bundle));
}

const asset = 'assets/tiny-lm.safetensors';
const file = readFileSync(asset);
const { __metadata__: metadata } = JSON.parse(
  file.subarray(8, 8 + Number(file.readBigUInt64LE())).toString(),
);
const words: string[] = JSON.parse(metadata.vocabulary);

let engine: typeof XGrammar;
let grammar: XGrammar.CompiledGrammar;
beforeAll(async () => {
  engine = loadEngine();
  const texts = words.map(word => `${word} `);
  const tokenizer = await engine.TokenizerInfo.createTokenizerInfo(texts, 'raw', false, words.length, [0]);
  const compiler = await engine.GrammarCompiler.createGrammarCompiler(tokenizer);
  grammar = await compiler.compileGrammar(SENTENCE);
});

/** The ids that a mask allows. */
function idsOf(mask: Int32Array): number[] {
  return Array.from(words.keys()).filter(id => (mask[id >> 5] >>> (id & 31)) & 1);
}

describe.each(backends)('%s', backend => {
  it('draws what the grammar allows, and all of it', async () => {
    const head = LMHead.openSync(asset, { backend });
    const seen = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const sampler = head.sampler({ seed, temperature: 2 });
      const matcher = await engine.GrammarMatcher.createGrammarMatcher(grammar);
      const text: string[] = [];
      for (let last = 0; !matcher.isTerminated(); ) {
        const allowedMask = await matcher.getNextTokenBitmask();
        expect(allowedMask.length).toBe(Math.ceil(head.vocabSize / 32));
        const hidden = head.embed([last]);
        const allowed = head.candidatesSync(hidden, { allowedMask });
        expect([...allowed.ids].sort((a, b) => a - b)).toEqual(idsOf(allowedMask));
        expect(allowed).toEqual(head.candidatesSync(hidden, { allowedIds: idsOf(allowedMask) }));
        const { id } = await sampler.next(hidden, { allowedMask });
        expect(matcher.acceptToken(id)).toBe(true);
        text.push(words[id]);
        last = id;
      }
      matcher.dispose();
      expect(text.join(' ')).toMatch(WANTED);
      seen.add(text.join(' '));
    }
    expect(seen.size).toBeGreaterThan(5);
    head.close();
  });

  it('has one mask for each of several sequences', async () => {
    const head = LMHead.openSync(asset, { backend });
    const matchers = [0, 1].map(() => engine.GrammarMatcher.createGrammarMatcher(grammar));
    const [fresh, begun] = await Promise.all(matchers);
    begun.acceptToken(words.indexOf('Max'));
    const allowedMask = [await fresh.getNextTokenBitmask(), await begun.getNextTokenBitmask()];
    const { ids } = head.sampleSync(head.embed([0, words.indexOf('Max')]), { allowedMask, seed: 1 });
    expect(['Lily', 'Max']).toContain(words[ids[0]]);
    expect(words[ids[1]]).toBe('was');
    head.close();
  });
});
