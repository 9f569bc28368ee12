/** What together.test.ts does a little of. */
import { describe } from 'vitest';
import { backends } from '../support/backends';
import { randomMixes } from './mixes-by-isa';

describe.skipIf(!backends.includes('native'))('12,000 calls at once', () => randomMixes(12_000));
