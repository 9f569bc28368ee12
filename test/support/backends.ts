import { nativeUnavailable } from '../../lib/addon';

/** The backends that run here. */
export const backends: ('native' | 'reference')[] = nativeUnavailable()
  ? ['reference']
  : ['native', 'reference'];
