import { nativeUnavailable } from '../../lib/backend/addon';

/** The backends that run here. */
export const backends: ('native' | 'reference')[] = nativeUnavailable()
  ? ['reference']
  : ['native', 'reference'];
