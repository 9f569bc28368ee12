/** Memory stays flat over many calls and many heads. */
import { describeFlatMemory } from './flat';

describeFlatMemory('native', 6000, 500, 240_000);
