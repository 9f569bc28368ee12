export { type CutHeadOptions, type CutReport, cutHead } from './cut-head';
