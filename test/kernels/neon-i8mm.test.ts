import { kernelSuite } from './suite';

kernelSuite('neon_i8mm');
