/** Memory is reported to V8, and free when a call is aborted. */
import { expect, it } from 'vitest';
import { backends } from '../support/backends';
import { lines, MB } from './flat';

const TIMEOUT = 240_000;

it.skipIf(!backends.includes('native'))(
  'external memory is reported once per load, and taken back once',
  () => {
    type External = Record<'bytes' | 'loaded' | 'shared' | 'closed' | 'allClosed', number>;
    const [{ bytes, loaded, shared, closed, allClosed }] = lines<External>('external.mjs', TIMEOUT);
    for (const grown of [loaded, shared]) expect(Math.abs(grown - bytes)).toBeLessThan(MB / 8);
    for (const grown of [closed, allClosed]) expect(Math.abs(grown)).toBeLessThan(MB / 8);
  },
);

it.each(backends)(
  'of calls that are aborted while they wait is free at once, %s',
  backend => {
    type Held = { waiting: boolean; grown: number; copies: number };
    const [{ waiting, grown, copies }] = lines<Held>('aborted.mjs', TIMEOUT, 2000, backend);
    expect(waiting).toBe(true);
    expect(grown).toBeLessThan(copies / 2);
  },
  TIMEOUT,
);
