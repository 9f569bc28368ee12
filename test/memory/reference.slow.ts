/** The same in pure TypeScript, whose calls take longer: fewer of them. (`npm run test:long` makes as many.) */
import { describeFlatMemory } from './flat';

describeFlatMemory('reference', 500, 100, 240_000);
