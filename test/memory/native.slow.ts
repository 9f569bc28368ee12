/** Memory stays flat over many calls and many heads. */
import { describeFlatMemory } from './flat';

describeFlatMemory('native', 3000, 250, 240_000);
