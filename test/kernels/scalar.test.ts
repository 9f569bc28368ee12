import { kernelSuite } from './suite';

kernelSuite('scalar');
