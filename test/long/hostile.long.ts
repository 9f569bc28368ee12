/** Hundreds of thousands of hostile arguments. */
import { it } from 'vitest';
import { passHostileArguments } from '../stress/pass-hostile';
import { backends } from '../support/backends';

const CASES = 300_000;
const AT_ONCE = 50_000;
/** The short test has the seeds below. */
const FIRST_SEED = 100_000;

it
  .skipIf(!backends.includes('native'))
  .each(Array.from({ length: CASES / AT_ONCE }, (_, i) => FIRST_SEED + i * AT_ONCE))(
  `${AT_ONCE} hostile arguments, from seed %i`,
  first => {
    console.log('hostile arguments:', JSON.stringify(passHostileArguments(AT_ONCE, first)));
  },
);
