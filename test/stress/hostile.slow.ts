/** Some of what npm run test:long does with hundreds of thousands. */
import { it } from 'vitest';
import { backends } from '../support/backends';
import { passHostileArguments } from './pass-hostile';

it.skipIf(!backends.includes('native'))(
  'hostile arguments give a right result or an LMHeadError, and leave heads that work',
  () => {
    console.log('hostile arguments:', JSON.stringify(passHostileArguments(20_000, 0)));
  },
  240_000,
);
