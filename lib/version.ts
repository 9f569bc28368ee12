/** This package's version; a constant, so that bundles have it too. */
export const VERSION = '0.1.0';
