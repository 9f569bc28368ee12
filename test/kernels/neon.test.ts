import { kernelSuite } from './suite';

kernelSuite('neon');
