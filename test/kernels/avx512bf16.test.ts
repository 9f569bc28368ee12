import { kernelSuite } from './suite';

kernelSuite('avx512bf16');
