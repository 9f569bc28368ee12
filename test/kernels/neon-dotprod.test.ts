import { kernelSuite } from './suite';

kernelSuite('neon_dotprod');
