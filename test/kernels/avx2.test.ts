import { kernelSuite } from './suite';

kernelSuite('avx2');
