import { kernelSuite } from './suite';

/** The same kernels over tiles in plain C++, where there is AVX-512: no name of `capabilities().available`. */
kernelSuite('amx-emulated');
