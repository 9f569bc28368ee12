/** The addon itself, past lib/. */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
export const addon = require('../../../dist/backend/addon.js').loadAddon();
export const { LMHeadError } = require('../../../dist/errors.js');
