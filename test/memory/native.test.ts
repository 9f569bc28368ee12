/** Memory stays flat over many calls and many heads. */
import { describeFlatMemory } from './flat';

describeFlatMemory('native', 10_000, 1000, 240_000);
