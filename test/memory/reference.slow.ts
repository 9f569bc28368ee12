/** The same in pure TypeScript, whose calls take longer: fewer of them. (`npm run test:long` makes as many.) */
import { describeFlatMemory } from './flat';

describeFlatMemory('reference', 1000, 200, 240_000);
