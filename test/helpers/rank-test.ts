/**
 * The Mann-Whitney statistic as an area: the chance that a random one of `left` is greater than a random one of
 * `right`. 0.5: the two are not to be told apart; 0 or 1: each value tells its side.
 */
export function areaUnderCurve(left: number[], right: number[]): number {
  let wins = 0
  for (const a of left) for (const b of right) wins += a > b ? 1 : a === b ? 0.5 : 0
  return wins / (left.length * right.length)
}
