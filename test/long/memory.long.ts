import { describeFlatMemory } from '../memory/flat';

describeFlatMemory(1_000_000, 10_000, 4 * 3600_000);
