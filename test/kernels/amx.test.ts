import { kernelSuite } from './suite';

kernelSuite('amx');
