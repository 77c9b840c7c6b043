/**
 * How often to try what only chance can find: `full` times where TEST_EFFORT is `full`, as in the second run of .ci/run,
 * and `short` times otherwise.
 */
export const thorough = (full: number, short: number): number => (process.env.TEST_EFFORT === 'full' ? full : short)
